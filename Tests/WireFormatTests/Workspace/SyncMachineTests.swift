import Foundation
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@Suite("The two sides of a transfer")
struct SyncMachineTests {
    private func entry(_ name: String, _ type: WireEntryType = .file) -> WireSyncEntry {
        .with {
            $0.path = Data(name.utf8)
            $0.type = type
            $0.size = 100
        }
    }

    private func manifest(_ entries: [WireSyncEntry], isLast: Bool = true) -> WireSyncMessage {
        .with {
            $0.manifest.entries = entries
            $0.manifest.isLast = isLast
        }
    }

    private func data(_ parts: [WireSyncPart]) -> WireSyncMessage { .with { $0.data.parts = parts } }

    private func part(_ file: UInt32, _ bytes: [UInt8], isLast: Bool) -> WireSyncPart {
        .with {
            $0.file = file
            $0.data = Data(bytes)
            if isLast {
                $0.end.outcome = .complete
                $0.end.size = UInt64(bytes.count)
                $0.end.sha256 = Data(repeating: 1, count: 32)
            }
        }
    }

    /// A target that knows three files and wants the first two.
    private func target() throws -> SyncTargetMachine {
        var machine = SyncTargetMachine()
        _ = try machine.receive(manifest([entry("a"), entry("b"), entry("c")]))
        machine.want(0)
        machine.wantBlocks(1, basisBytes: 50)
        return machine
    }

    @Test("a whole transfer")
    func whole() throws {
        var machine = try target()
        #expect(machine.entries.map(\.path.description) == ["a", "b", "c"])
        let events = try machine.receive(data([part(0, [1, 2, 3], isLast: true)]))
        #expect(events.count == 3)
        var copy = WireSyncPart()
        copy.file = 1
        copy.inPlace = true
        copy.copy.offset = 10
        copy.copy.length = 40
        _ = try machine.receive(data([copy]))
        var last = part(1, [7], isLast: true)
        last.end.size = 41
        _ = try machine.receive(data([last]))
        machine.finishWants()
        #expect(machine.openFileCount == 0)
        let end = WireSyncMessage.with { $0.end.digest = Data(repeating: 2, count: 32) }
        guard case .sourceDone? = try machine.receive(end).first else {
            Issue.record("no end")
            return
        }
        #expect(throws: SyncViolation.self) { try machine.receive(end) }
    }

    @Test("entries out of order, outside a directory, twice, or links to nothing end the transfer")
    func hostileManifests() {
        let bad: [[WireSyncEntry]] = [
            [entry("b"), entry("a")], [entry("a"), entry("a")], [entry("a/b")], [entry("a"), entry("a/b")],
            [entry("../a")], [entry("a", .other)], [entry("a", .unspecified)],
            [entry("d", .directory), entry("e"), entry("d/f")],
            [
                WireSyncEntry.with {
                    $0.path = Data("b".utf8)
                    $0.type = .hardLink
                    $0.linkTarget = Data("a".utf8)
                }
            ],
        ]
        for entries in bad {
            var machine = SyncTargetMachine()
            #expect(throws: SyncViolation.self, "\(entries)") { try machine.receive(manifest(entries)) }
        }
        var small = SyncTargetMachine.Limits()
        small.maxEntries = 1
        var machine = SyncTargetMachine(limits: small)
        #expect(throws: SyncViolation.self) { try machine.receive(manifest([entry("a"), entry("b")])) }
    }

    @Test("pieces nobody asked for, out of turn, too long or copied from nowhere end the transfer")
    func hostileParts() throws {
        let beyond = WireSyncPart.with {
            $0.file = 1
            $0.copy.offset = 20
            $0.copy.length = 31
        }
        let overflow = WireSyncPart.with {
            $0.file = 1
            $0.copy.offset = .max
            $0.copy.length = 2
        }
        let huge = WireSyncPart.with {
            $0.file = 0
            $0.zeros = .max
        }
        let inPlaceOfNothing = WireSyncPart.with {
            $0.file = 0
            $0.inPlace = true
            $0.data = Data([1])
        }
        var short = part(0, [1], isLast: true)
        short.end.size = 2
        var noDigest = part(0, [1], isLast: true)
        noDigest.end.sha256 = Data()
        let bad: [[WireSyncPart]] = [
            [part(2, [1], isLast: true)], [part(9, [], isLast: true)],
            [part(0, [1], isLast: false), part(1, [1], isLast: false)],
            [part(0, [1], isLast: true), part(0, [1], isLast: true)],
            [beyond], [overflow], [huge], [inPlaceOfNothing], [short], [noDigest],
        ]
        for parts in bad {
            var machine = try target()
            #expect(throws: SyncViolation.self, "\(parts)") { try machine.receive(data(parts)) }
        }
        var machine = try target()
        machine.finishWants()
        let end = WireSyncMessage.with { $0.end.digest = Data(repeating: 2, count: 32) }
        #expect(throws: SyncViolation.self, "an end with files missing") { try machine.receive(end) }
    }

    @Test("a source does what it is asked once, and nothing that makes no sense")
    func source() throws {
        let entries = try ["a", "b", "d"].map { name in
            ManifestEntry(path: try #require(WorkspacePath(name.utf8)), kind: name == "d" ? .directory : .file)
        }
        var machine = SyncSourceMachine(entries: entries)
        let wants = WireSyncMessage.with { $0.wants.files = [1] }
        #expect(try machine.receive(wants) == [.whole(file: 1)])
        #expect(throws: SyncViolation.self) { try machine.receive(wants) }
        for files in [[2], [3], [UInt32.max]] as [[UInt32]] {
            var other = SyncSourceMachine(entries: entries)
            #expect(throws: SyncViolation.self) { try other.receive(WireSyncMessage.with { $0.wants.files = files }) }
        }
        let signature = WireSyncMessage.with {
            $0.signature.file = 0
            $0.signature.blockBytes = 1024
            $0.signature.basisBytes = 3000
            $0.signature.sums = Data(repeating: 5, count: 36)
        }
        #expect(try machine.receive(signature) == [])
        #expect(throws: SyncViolation.self) { try machine.receive(WireSyncMessage.with { $0.wants.isLast = true }) }
        var rest = signature
        rest.signature.isLast = true
        guard case .blocks(0, let read)? = try machine.receive(rest).first else {
            Issue.record("no job")
            return
        }
        #expect(read.strong.count == 2)
        #expect(try machine.receive(WireSyncMessage.with { $0.wants.isLast = true }).isEmpty)
        #expect(machine.isFinished)
    }

    @Test("compression is chosen where it is quicker, and not where the link outruns it")
    func compression() {
        func settle(plain: Double, compressed: Double) -> Bool {
            var chooser = CompressionChooser()
            var compressing = 0
            for _ in 0..<60 {
                let rate = chooser.isCompressing ? compressed : plain
                if chooser.isCompressing { compressing += 1 }
                chooser.sent(
                    bytes: CompressionChooser.windowBytes,
                    in: .seconds(Double(CompressionChooser.windowBytes) / rate)
                )
            }
            return compressing > 30
        }
        #expect(settle(plain: 1e6, compressed: 3e6))
        #expect(!settle(plain: 50e6, compressed: 30e6))
        #expect(!settle(plain: 900e6, compressed: 60e6))
    }
}
