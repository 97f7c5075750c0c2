import Dispatch
import Foundation
import Glibc
import Logging
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

@Suite("Making one workspace like another")
struct SyncTests {
    func service(
        _ place: TestWorkspace,
        limits: WorkspaceFiles.Limits = WorkspaceFiles.Limits(),
        rules: WorkspaceGuard = .open,
        executor: (any TaskExecutor)? = nil
    ) -> WorkspaceService {
        WorkspaceService(
            files: place.files(rules, limits: limits),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            executor: executor
        )
    }

    /// Two nodes and the hub between them.
    func joined<Result: Sendable>(
        _ source: TestWorkspace,
        _ target: TestWorkspace,
        limits: WorkspaceFiles.Limits = WorkspaceFiles.Limits(),
        rules: WorkspaceGuard = .open,
        sourceExecutor: (any TaskExecutor)? = nil,
        targetExecutor: (any TaskExecutor)? = nil,
        _ body: @escaping @Sendable (TestNode, TestNode) async throws -> Result
    ) async throws -> Result {
        let from = service(source, executor: sourceExecutor)
        let to = service(target, limits: limits, rules: rules, executor: targetExecutor)
        return try await TestNode.run({ await from.serve($0, on: $1) }) { one in
            try await TestNode.run({ await to.serve($0, on: $1) }) { two in try await body(one, two) }
        }
    }

    func install(_ target: TestWorkspace, _ report: WireSyncReport? = nil, revert: Bool = false) async
        -> WireCommandResult
    {
        await service(target).install(
            .with {
                $0.botID = "bot"
                $0.transferID = "t1"
                $0.digest = report?.digest ?? Data()
                $0.revert = revert
            }
        )
    }

    func tree(_ target: TestWorkspace) -> TestTree {
        TestTree(root: target.bots + "/bot/.agent/transfers/t1/tree")
    }

    @Test("random trees under random changes become the same, pass after pass", arguments: 1...12)
    func random(seed: UInt64) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        var random = SeededRandom(seed: seed)
        // Where the bot has been before: what is the same is taken from there.
        if seed % 3 == 0 { TestTree(root: target.root).mutate(30, &random) }
        TestTree(root: source.root).mutate(40, &random)
        for pass in 0..<4 {
            let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
            #expect(report.unstable == 0)
            let difference = Set(try TestTree(root: source.root).described())
                .symmetricDifference(try tree(target).described())
            #expect(difference.isEmpty, "seed \(seed) pass \(pass): \(difference)")
            TestTree(root: source.root).mutate(15, &random)
        }
    }

    /// What was written a moment ago may change again without its times telling, so it is read once more.
    static func settle() async throws {
        // allow-sleep: on the clock of the file system, which no test moves
        try await Task.sleep(for: .nanoseconds(2 * DigestCache.settlingNanoseconds))
    }

    @Test("a second pass moves only what changed since, and reads nothing else")
    func delta() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        var random = SeededRandom(seed: 5)
        for index in 0..<300 { try source.put("d\(index % 7)/f\(index)", String(repeating: "\(index) ", count: 100)) }
        let large = random.noise(3 << 20)
        try Data(large).write(to: URL(filePath: source.root + "/large"))
        try await joined(source, target) { from, to in
            let first = try await TestRelay.run(from: from, to: to)
            #expect(first.added == 308)
            #expect(first.receivedBytes >= 3 << 20)
            try await Self.settle()
            _ = try await TestRelay.run(from: from, to: to)
            let sent = from.agentLink.sentBytes
            var changed = large
            changed[1 << 20] ^= 1
            try Data(changed).write(to: URL(filePath: source.root + "/large"))
            try source.put("d1/f1", "other")
            let second = try await TestRelay.run(from: from, to: to)
            #expect(second.changed == 2 && second.added == 0 && second.removed == 0)
            #expect(second.receivedBytes < 8 << 10)
            #expect(second.copiedBytes > 3_000_000)
            #expect(from.agentLink.sentBytes - sent < 100 << 10)
        }
    }

    @Test("a transfer that is cut goes on with what has come")
    func resume() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        var random = SeededRandom(seed: 6)
        try Data(random.noise(20 << 20)).write(to: URL(filePath: source.root + "/large"))
        for index in 0..<50 { try source.put("small\(index)", "\(index)") }
        try await joined(source, target) { from, to in
            do {
                _ = try await TestRelay.run(from: from, to: to, cutAfter: 90)
                Issue.record("it was not cut")
            } catch is TestRelay.Cut {
            }
            // The agent notices the end of the cut one in its own time.
            var report = WireSyncReport()
            while report.entries == 0 {
                do {
                    report = try await TestRelay.run(from: from, to: to)
                } catch let failure as TestRelay.Failed where failure.code == "busy" {
                    continue
                }
            }
            #expect(report.receivedBytes < 15 << 20, "\(report.receivedBytes) bytes came again")
            #expect(report.copiedBytes > 4 << 20)
        }
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }

    @Test("a preview tells what would be done and does nothing")
    func preview() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        try source.put("d/b", "22")
        try target.put("old", "x")
        let before = try TestTree(root: target.bots).described()
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1, preview: true) }
        #expect(report.added == 3 && report.removed == 1)
        #expect(Set(report.changes.map { String(decoding: $0.path, as: UTF8.self) }) == ["a", "d", "d/b", "old"])
        #expect(report.changedBytes == 3)
        #expect(try TestTree(root: target.bots).described() == before)
    }

    @Test("what is no file, directory or link is told and not carried")
    func skipped() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        mkfifo(source.root + "/pipe", 0o600)
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(report.skippedCount == 1)
        #expect(report.skipped.map { String(decoding: $0.path, as: UTF8.self) } == ["pipe"])
        #expect(report.skipped.allSatisfy { $0.isSpecial })
        #expect(try FileManager.default.contentsOfDirectory(atPath: tree(target).root) == ["a"])
    }

    @Test("the tree takes the workspace's place at once, and gives it back")
    func installing() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "new")
        try target.put("a", "old")
        #expect(await install(target).errorCode == "not_found", "nothing has been transferred")
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(target.text("a") == "old")
        var other = report
        other.digest = Data(repeating: 1, count: 32)
        #expect(await install(target, other).errorCode == "changed")
        for _ in 0..<2 {
            #expect(await install(target, report).outcome == .done)
            #expect(target.text("a") == "new")
        }
        for _ in 0..<2 {
            #expect(await install(target, revert: true).outcome == .done)
            #expect(target.text("a") == "old")
        }
        #expect(
            await install(target, report).errorCode == "not_found",
            "it may have been changed while it was in place"
        )
        let discard = WireDiscardTransfer.with {
            $0.botID = "bot"
            $0.transferID = "t1"
        }
        for _ in 0..<2 { #expect(await service(target).discard(discard).outcome == .done) }
        #expect(!FileManager.default.fileExists(atPath: tree(target).root))
        #expect(target.text("a") == "old")
    }

    @Test("damage to the staging tree is found where it is read again, and repaired")
    func rehash() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", String(repeating: "content ", count: 100))
        try await joined(source, target) { from, to in
            _ = try await TestRelay.run(from: from, to: to)
            let path = tree(target).root + "/a"
            var status = stat()
            stat(path, &status)
            let descriptor = open(path, O_WRONLY)
            pwrite(descriptor, "C", 1, 0)
            // Its times are put back, as far as that goes.
            futimens(descriptor, [status.st_atim, status.st_mtim])
            close(descriptor)
            _ = try await TestRelay.run(from: from, to: to, rehash: true)
        }
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }

    @Test("100 directories deep, with names of 200 bytes")
    func deep() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        let name = String(repeating: "d", count: 200)
        var directory = open(source.root, O_RDONLY | O_DIRECTORY)
        for _ in 0..<60 {
            mkdirat(directory, name, 0o755)
            let next = openat(directory, name, O_RDONLY | O_DIRECTORY)
            close(directory)
            directory = next
        }
        let file = openat(directory, "leaf", O_WRONLY | O_CREAT, 0o600)
        write(file, "deep", 4)
        close(file)
        close(directory)
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(report.entries == 61)
        #expect(report.unstable == 0 && report.skippedCount == 0)
        try await Self.settle()
        _ = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        let again = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(again.added == 0 && again.changed == 0 && again.receivedBytes == 0)
    }

    @Test("a target without room says so before anything is written")
    func noRoom() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        var limits = WorkspaceFiles.Limits()
        limits.reserveBytes = 1 << 60
        do {
            _ = try await joined(source, target, limits: limits) { try await TestRelay.run(from: $0, to: $1) }
            Issue.record("no failure")
        } catch let failure as TestRelay.Failed {
            #expect(failure.code == "disk_full")
        }
    }

    @Test("a file that is written to all the time does not hold the others up, and is told")
    func busyFile() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("calm", "1")
        try source.put("busy", String(repeating: "x", count: 8 << 20))
        let isOver = Signal()
        let path = source.root + "/busy"
        let report = try await withThrowingTaskGroup(of: WireSyncReport?.self) { group in
            group.addTask {
                await withCheckedContinuation { continuation in
                    // A thread of its own: tests share the others.
                    DispatchQueue(label: "busy").async {
                        let descriptor = open(path, O_WRONLY)
                        var place = 0
                        while isOver.ticket == 0 {
                            place = (place + 4097) % (8 << 20)
                            pwrite(descriptor, "y", 1, off_t(place))
                        }
                        close(descriptor)
                        continuation.resume()
                    }
                }
                return nil
            }
            group.addTask { try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) } }
            var found: WireSyncReport?
            while let result = try await group.next() {
                if let result {
                    found = result
                    isOver.wake()
                }
            }
            return try #require(found)
        }
        #expect(report.unstable == 1)
        #expect(await install(target, report).errorCode == "not_found", "an incomplete tree is never installed")
        let calm = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(calm.unstable == 0)
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }
}
