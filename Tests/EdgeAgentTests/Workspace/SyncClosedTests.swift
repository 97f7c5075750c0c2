import Foundation
import Glibc
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// What an agent without the rights of root may not read.
extension SyncTests {
    /// Two nodes whose agents are nobody in particular.
    private func unprivileged<Result: Sendable>(
        _ source: TestWorkspace,
        _ target: TestWorkspace,
        _ body: @escaping @Sendable (TestNode, TestNode) async throws -> Result
    ) async throws -> Result {
        try await joined(
            source,
            target,
            sourceExecutor: UnprivilegedExecutor.shared,
            targetExecutor: UnprivilegedExecutor.shared,
            body
        )
    }

    private func failure(
        _ source: TestWorkspace,
        _ target: TestWorkspace,
        preview: Bool
    ) async throws -> TestRelay.Failed? {
        do {
            _ = try await unprivileged(source, target) { try await TestRelay.run(from: $0, to: $1, preview: preview) }
            return nil
        } catch let failure as TestRelay.Failed {
            return failure
        }
    }

    @Test(
        "What may not be read is named before anything is stopped, and nothing is put in place without it",
        arguments: [
            ("directory", 0o000), ("directory", 0o300), ("directory", 0o400), ("file", 0o000), ("file", 0o200),
        ]
    )
    func closed(kind: String, mode: Int) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        try source.put("shut/inside", "kept")
        let path = kind == "file" ? "shut/inside" : "shut"
        for place in [source, target] { place.giveAway() }
        chmod(source.root + "/" + path, mode_t(mode))
        for preview in [true, false] {
            let failure = try #require(try await failure(source, target, preview: preview))
            #expect(failure.code == "denied", "\(failure)")
            let digits = String(mode, radix: 8)
            let shown = String(repeating: "0", count: 3 - digits.count) + digits
            for words in ["1 entry", "\(path) (a \(kind) of mode \(shown)"] {
                #expect(failure.message.contains(words), "\(failure.message)")
            }
        }
        #expect(await install(target).errorCode == "not_found")
        chmod(source.root + "/" + path, 0o700)
        let report = try await unprivileged(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(report.unstable == 0)
        #expect(await install(target, report).outcome == .done)
        #expect(target.text("shut/inside") == "kept")
    }

    @Test("A file that is closed after it was listed fails the transfer and is named, and is not called busy")
    func closedMeanwhile() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("first", String(repeating: "x", count: 4 << 20))
        try source.put("second", "kept")
        for place in [source, target] { place.giveAway() }
        let path = source.root + "/second"
        do {
            let report = try await unprivileged(source, target) { from, to in
                try await TestRelay.run(from: from, to: to, onManifest: { chmod(path, 0) })
            }
            Issue.record("no failure: \(report)")
        } catch let failure as TestRelay.Failed {
            #expect(failure.code == "denied" && failure.message.contains("second"), "\(failure)")
        }
    }

    @Test("A workspace that is closed itself says so")
    func closedRoot() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        for place in [source, target] { place.giveAway() }
        chmod(source.root, 0o300)
        let failure = try #require(try await failure(source, target, preview: true))
        #expect(failure.code == "denied" && failure.message.contains("closed to the agent"), "\(failure)")
    }

    @Test("Half of a workspace is no size")
    func measured() async throws {
        let place = try TestWorkspace()
        try place.put("a", "1")
        try place.put("shut/inside", "kept")
        place.giveAway()
        chmod(place.root + "/shut", 0o300)
        let service = service(place, executor: UnprivilegedExecutor.shared)
        let result = await service.measure(.with { $0.botID = "bot" })
        #expect(result.outcome == .failed && result.message.contains("shut (a directory of mode 300"), "\(result)")
        chmod(place.root + "/shut", 0o700)
        #expect(await service.measure(.with { $0.botID = "bot" }).workspaceSize.files == 2)
    }

    /// The source's agent is root, and reads everything; the target's is not.
    @Test("What a source closes is followed on a target without rights, pass after pass", .enabled(if: geteuid() == 0))
    func closedStaging() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("shut/stays", "1")
        try source.put("shut/goes", "2")
        chmod(source.root + "/shut", 0)
        target.giveAway()
        try await joined(source, target, targetExecutor: UnprivilegedExecutor.shared) { from, to in
            _ = try await TestRelay.run(from: from, to: to)
            unlink(source.root + "/shut/goes")
            let second = try await TestRelay.run(from: from, to: to)
            #expect(second.unstable == 0)
        }
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }

    /// The source's agent is root, and reads everything; the target's is not. A hub may say of a mode what it likes, too.
    @Test(
        "What lies in a directory that may not be listed counts as the hub's all the same",
        .enabled(if: geteuid() == 0),
        arguments: [0o300, 0o000, 0o400]
    )
    func closedProvenance(mode: Int) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("app/run.sh", "exec evil")
        chmod(source.root + "/app", mode_t(mode))
        target.giveAway()
        let report = try await joined(source, target, targetExecutor: UnprivilegedExecutor.shared) {
            try await TestRelay.run(from: $0, to: $1)
        }
        #expect(report.unstable == 0)
        let service = service(target, executor: UnprivilegedExecutor.shared)
        let installed = await service.install(
            .with { ($0.botID, $0.transferID, $0.digest) = ("bot", "t1", report.digest) }
        )
        #expect(installed.outcome == .done, "\(installed)")
        let found = try await withUnprivilegedTask {
            let bot = try BotDirectory(root: target.bots, botID: "bot")
            let root = try BeneathDirectory(bot.workspace)
            let code = WorkspaceCode(
                [RuntimeProfile(name: "x", command: CommandTemplate(words: ["sh", "{workspace}/app/deep/run.sh"]))],
                bot: "bot",
                at: .init(home: bot.path)
            )
            // Where names can be looked up it is known that there is nothing of this one.
            #expect((code.present(in: root) == nil) == (mode == 0o300))
            return try HubProvenance(bot).first(in: root) { $0 == "app/run.sh" }
        }
        #expect(found == "app/run.sh")
    }

    private func withUnprivilegedTask<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws
        -> Result
    {
        try await withTaskExecutorPreference(UnprivilegedExecutor.shared) { try body() }
    }

    @Test("Random trees with what cannot be read, with links of every kind and with pipes", arguments: 1...8)
    func hardTrees(seed: UInt64) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        var random = SeededRandom(seed: seed &* 7919)
        let wild = TestTree(root: source.root, isHard: true)
        for pass in 0..<4 {
            wild.mutate(pass == 0 ? 40 : 12, &random)
            for place in [source, target] { place.giveAway() }
            let closed = try wild.closed()
            if !closed.isEmpty {
                for preview in [true, false] {
                    let failure = try #require(
                        try await failure(source, target, preview: preview),
                        "seed \(seed) pass \(pass): \(closed) went unnoticed"
                    )
                    #expect(failure.code == "denied", "seed \(seed) pass \(pass): \(failure)")
                    let isCounted = failure.message.hasPrefix("\(closed.count) entr")
                    #expect(isCounted, "seed \(seed): \(failure.message) \(closed)")
                }
                // Later there is the tree of the pass before, whole and verified as that.
                if pass == 0 { #expect(await install(target).errorCode == "not_found") }
                wild.own(by: nil, opening: true)
            }
            let report = try await unprivileged(source, target) { try await TestRelay.run(from: $0, to: $1) }
            #expect(report.unstable == 0, "seed \(seed) pass \(pass)")
            #expect(report.skipped.allSatisfy { $0.isSpecial })
            let difference = Set(try wild.described()).symmetricDifference(try tree(target).described())
            #expect(difference.isEmpty, "seed \(seed) pass \(pass): \(difference)")
        }
    }

    @Test(
        "Entries that come and go while they are looked at hold nothing up, and are never called unreadable",
        arguments: 1...3
    )
    func vanishing(seed: UInt64) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        var random = SeededRandom(seed: seed)
        TestTree(root: source.root).mutate(40, &random)
        TestTree(root: source.root).own(by: nil, opening: true)
        for index in 0..<200 { try source.put("d\(index % 5)/f\(index)", "\(index)") }
        for place in [source, target] { place.giveAway() }
        let isOver = Signal()
        let root = source.root
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                await withCheckedContinuation { continuation in
                    // A thread of its own: tests share the others.
                    Thread.detachNewThread {
                        var random = SeededRandom(seed: seed &+ 100)
                        while isOver.ticket == 0 {
                            let name = root + "/d\(Int.random(in: 0...4, using: &random))"
                            let file = name + "/f\(Int.random(in: 0...199, using: &random))"
                            switch Int.random(in: 0...4, using: &random) {
                            case 0: unlink(file)
                            case 1: close(creat(file, 0o666))
                            case 2:
                                rename(name, name + "-away")
                                symlink("nowhere", name)
                            case 3:
                                unlink(name)
                                rename(name + "-away", name)
                            default:
                                mkdir(file, 0o755)
                                rmdir(file)
                            }
                        }
                        continuation.resume()
                    }
                }
            }
            for _ in 0..<8 {
                do {
                    _ = try await unprivileged(source, target) { try await TestRelay.run(from: $0, to: $1) }
                } catch let failure as TestRelay.Failed {
                    #expect(failure.code == "changed", "\(failure)")
                }
            }
            isOver.wake()
            try await group.waitForAll()
        }
        let report = try await unprivileged(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(report.unstable == 0)
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }
}
