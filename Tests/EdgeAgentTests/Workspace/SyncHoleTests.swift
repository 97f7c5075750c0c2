import Foundation
import Glibc
import Logging
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// Files of which there is almost nothing, and which take hours to read.
@Suite("Holes without end", .timeLimit(.minutes(2)))
struct SyncHoleTests {
    private func service(_ place: TestWorkspace) -> WorkspaceService {
        WorkspaceService(files: place.files(.open), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private func sparse(_ path: String, bytes: off_t) throws {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        try #require(file >= 0)
        defer { close(file) }
        try #require(ftruncate(file, bytes) == 0, "the file system takes no such file")
    }

    @Test("A file that is almost empty for its size is refused in words before it is read", arguments: [true, false])
    func refused(preview: Bool) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try sparse(source.root + "/sparse", bytes: 1 << 42)
        let (from, to) = (service(source), service(target))
        let failure = try await #require(throws: TestRelay.Failed.self) {
            try await TestNode.run({ await from.serve($0, on: $1) }) { one in
                try await TestNode.run({ await to.serve($0, on: $1) }) { two in
                    _ = try await TestRelay.run(from: one, to: two, preview: preview)
                }
            }
        }
        #expect(failure.code == "too_large")
        #expect(failure.message.contains("sparse is almost empty for its size of 4398046511104 bytes"))
        #expect(failure.message.contains("truncate"))
    }

    @Test("Many files, each with less, come to an end as well")
    func many() async throws {
        let source = try TestWorkspace()
        for number in 0..<3 { try sparse(source.root + "/\(number)", bytes: 33 << 30) }
        var holes = HoleLimit()
        let path = try #require(WorkspacePath(Array("0".utf8)))
        try holes.take(33 << 30, of: path, size: 33 << 30)
        #expect(throws: WorkspaceFailure.self) { try holes.take(33 << 30, of: path, size: 33 << 30) }
        // What compresses well is no hole.
        #expect(!HoleLimit.isExceeded(size: 1 << 40, allocated: 8 << 30))
        #expect(HoleLimit.isExceeded(size: 1 << 40, allocated: 1 << 20))
    }

    @Test("A target takes no more holes than a source gives")
    func target() async throws {
        let target = try TestWorkspace()
        let to = service(target)
        let failure = try await TestNode.run({ await to.serve($0, on: $1) }) { node in
            var header = WireStreamHeader()
            header.syncTarget.botID = "bot"
            header.syncTarget.transferID = "t1"
            let stream = try node.session.openStream(header)
            var entry = WireSyncEntry()
            entry.path = Data("sparse".utf8)
            entry.type = .file
            entry.mode = 0o644
            entry.size = 1 << 20
            try await stream.send(
                sync: .manifest(
                    .with {
                        $0.entries = [entry]
                        $0.isLast = true
                    }
                )
            )
            while let message = try await stream.receiveSync() {
                if case .wants(let wants)? = message.body, wants.isLast { break }
                if case .failure(let failure)? = message.body { return failure }
            }
            try await stream.send(
                sync: .data(
                    .with { data in
                        data.parts = [
                            .with {
                                $0.file = 0
                                $0.zeros = 1 << 42
                            }
                        ]
                    }
                )
            )
            while let message = try await stream.receiveSync() {
                if case .failure(let failure)? = message.body { return failure }
            }
            return WireSyncFailure()
        }
        #expect(failure.code == "too_large", "\(failure.message)")
    }

    @Test("Hashing ends when the hub lets go of the stream, and not when it is through")
    func letGo() async throws {
        let source = try TestWorkspace()
        let from = service(source)
        // Comes first, so that what it sends tells that the other one is next.
        try source.put("a", String(repeating: "0123456789abcdef", count: 20_000))
        try sparse(source.root + "/b", bytes: 60 << 30)
        let (ended, continuation) = AsyncStream<Void>.makeStream()
        let taken = try await TestNode.run({
            await from.serve($0, on: $1)
            continuation.finish()
        }) { node in
            var header = WireStreamHeader()
            header.syncSource.botID = "bot"
            header.syncSource.transferID = "t1"
            header.syncSource.takesLinks = true
            let stream = try node.session.openStream(header)
            while let message = try await stream.receiveSync() {
                if case .manifest(let manifest)? = message.body, manifest.isLast { break }
            }
            try await stream.send(
                sync: .wants(
                    .with {
                        $0.files = [0, 1]
                        $0.isLast = true
                    }
                )
            )
            // All of the first but its last piece, which goes with what comes next: after that nothing is sent before the hole is hashed.
            var received = 0
            while received < 2 * SyncSender.messageBytes, let message = try await stream.receiveSync() {
                guard case .data(let data)? = message.body else { continue }
                received += data.parts.reduce(0) { $0 + $1.data.count }
            }
            let began = ContinuousClock.now
            stream.reset(.cancelled)
            for await _ in ended {}
            return ContinuousClock.now - began
        }
        #expect(taken < .seconds(8), "it went on for \(taken)")
    }
}
