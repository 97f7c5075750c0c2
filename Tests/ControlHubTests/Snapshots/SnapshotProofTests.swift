import Crypto
import Foundation
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

/// What a source may send, and what ends a snapshot. The node is canned.
@Suite("A snapshot is proved by the list that came before it")
struct SnapshotProofTests {
    private static func entry(_ path: String, _ type: WireEntryType = .file, size: UInt64 = 0) -> WireSyncEntry {
        .with { ($0.path, $0.type, $0.size) = (Data(path.utf8), type, size) }
    }

    private static func manifest(_ entries: [WireSyncEntry], isLast: Bool = true) -> WireSyncMessage {
        .with { ($0.manifest.entries, $0.manifest.isLast) = (entries, isLast) }
    }

    private static func file(_ index: UInt32, _ text: String) -> WireSyncPart {
        .with {
            ($0.file, $0.data) = (index, Data(text.utf8))
            $0.end.outcome = .complete
            $0.end.size = UInt64(text.utf8.count)
            $0.end.sha256 = Data(SHA256.hash(data: Data(text.utf8)))
        }
    }

    private static func data(_ parts: [WireSyncPart]) -> WireSyncMessage { .with { $0.data.parts = parts } }

    /// `d`, `d/a`, `d/b`, `d/link` and `e`, in two messages.
    private static let lists = [
        manifest([entry("d", .directory), entry("d/a", size: 1)], isLast: false),
        manifest([
            entry("d/b", size: 2),
            .with { ($0.path, $0.type, $0.linkTarget) = (Data("d/link".utf8), .symlink, Data("a".utf8)) },
            entry("e"),
        ]),
    ]
    private static let files = [file(1, "a"), file(2, "bb"), file(4, "")]

    private static func end() throws -> WireSyncMessage {
        var entries = try lists.flatMap(\.manifest.entries).map { try ManifestEntry($0) }
        for part in files { entries[Int(clamping: part.file)].digest = Digest256(part.end.sha256) }
        let digest = ManifestDigest.compute(entries, without: []) { Digest256(Array(SHA256.hash(data: $0))) ?? .zero }
        return .with { $0.end.digest = Data(digest.bytes) }
    }

    /// What comes of a source that says these things.
    private func take(_ messages: [WireSyncMessage]) async throws -> (snapshot: Snapshot, wants: [WireSyncWants]) {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let rest = Mutex(try messages.map { try $0.serializedBytes() as [UInt8] })
        let wants = Mutex<[WireSyncWants]>([])
        hub.channel.stream.withLock { stream in
            stream = { _ in
                AgentStream(
                    send: { bytes in
                        let message = try WireSyncMessage(bounded: bytes)
                        wants.withLock { $0.append(message.wants) }
                    },
                    receive: { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
                    finish: {},
                    reset: { _, _ in }
                )
            }
        }
        let snapshot = try await hub.services.deployments.context.snapshots.take(bot, on: node, by: .hub)
        return (snapshot, wants.withLock { $0 })
    }

    @Test("What comes as it was listed is taken, with every file asked for once")
    func whole() async throws {
        let (snapshot, wants) = try await take(Self.lists + [Self.data(Self.files), Self.end()])
        #expect(snapshot.entries == 5 && snapshot.totalBytes == 3)
        #expect(snapshot.digest == (try Self.end()).end.digest)
        #expect(wants.flatMap(\.files) == [1, 2, 4] && wants.map(\.isLast) == [true])
    }

    @Test("What does not come as it was listed is not")
    func broken() async throws {
        let (a, b, e) = (Self.files[0], Self.files[1], Self.files[2])
        var open = b
        open.clearEnd()
        var short = b
        short.end.size = 3
        var other = b
        other.end.sha256 = a.end.sha256
        let copy = WireSyncPart.with { ($0.file, $0.copy.length) = (1, 1) }
        let inPlace = WireSyncPart.with { ($0.file, $0.inPlace) = (1, true) }
        let bad: [[WireSyncPart]] = [
            [b, a, e], [a, a, b, e], [a, b], [a, e], [a, Self.file(0, ""), b, e], [a, Self.file(3, ""), b, e],
            [a, b, e, Self.file(5, "")], [a, open, e], [a, open], [a, short, e], [a, other, e], [copy, b, e],
            [inPlace, a, b, e],
        ]
        let end = try Self.end()
        for parts in bad {
            await expectHubError(.transferFailed) { _ = try await take(Self.lists + [Self.data(parts), end]) }
        }
        let lists: [[WireSyncMessage]] = [
            [Self.manifest([Self.entry("b"), Self.entry("a")])], [Self.manifest([Self.entry("a/b")])],
            [Self.manifest([Self.entry("a", isFile)], isLast: false), Self.data([a])],
            Self.lists + [Self.manifest([])], [.with { $0.wants.isLast = true }],
        ]
        for list in lists {
            await expectHubError(.transferFailed) { _ = try await take(list + [Self.data([a]), end]) }
        }
        var wrong = end
        wrong.end.digest = Data(Digest256.zero.bytes)
        await expectHubError(.transferFailed) { _ = try await take(Self.lists + [Self.data(Self.files), wrong]) }
    }

    private let isFile = WireEntryType.file

    @Test("A target is given what it asks for once, whole also where it tells what blocks it has")
    func wishes() throws {
        var wishes = SnapshotWishes()
        for wire in Self.lists.flatMap(\.manifest.entries) { wishes.add(try ManifestEntry(wire)) }
        func sums(_ file: UInt32, isLast: Bool) -> WireSyncMessage {
            .with { ($0.signature.file, $0.signature.isLast) = (file, isLast) }
        }
        try wishes.receive(sums(2, isLast: false))
        #expect(throws: SyncViolation.self) { try wishes.receive(sums(1, isLast: false)) }
        #expect(throws: SyncViolation.self) { try wishes.receive(.with { $0.wants.files = [1] }) }
        try wishes.receive(sums(2, isLast: true))
        for file: UInt32 in [0, 2, 3, 9] {
            #expect(throws: SyncViolation.self) { try wishes.receive(.with { $0.wants.files = [file] }) }
        }
        try wishes.receive(.with { ($0.wants.files, $0.wants.isLast) = ([4], true) })
        #expect((0..<6).filter { wishes.isWanted($0) } == [2, 4] && wishes.isFinished)
        #expect(throws: SyncViolation.self) { try wishes.receive(.with { $0.wants.files = [1] }) }
    }
}
