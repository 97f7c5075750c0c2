import Foundation
import TestSupport
import Testing
import WireFormat

@Suite("Manifests")
struct ManifestTests {
    private func path(_ text: String) throws -> WorkspacePath { try #require(WorkspacePath(text.utf8)) }

    private func digest(_ number: UInt8) -> Digest256 { Digest256([UInt8](repeating: number, count: 32)) ?? .zero }

    private func file(_ name: String, _ content: UInt8?, size: UInt64 = 1 << 20, mode: UInt32 = 0o644) throws
        -> ManifestEntry
    {
        ManifestEntry(
            path: try path(name),
            kind: .file,
            mode: mode,
            modifiedNanoseconds: 5,
            size: size,
            digest: content.map { digest($0) }
        )
    }

    @Test("an entry survives the wire")
    func wire() throws {
        let entries = [
            try file("a b/\n", 3), try file("unknown", nil),
            ManifestEntry(path: try path("d"), kind: .directory, mode: 0o555, modifiedNanoseconds: -1),
            ManifestEntry(path: try path("e/f"), kind: .symlink(Array("../d".utf8))),
            ManifestEntry(path: try path("z"), kind: .hardLink(try path("a"))),
        ]
        for entry in entries { #expect(try ManifestEntry(entry.wire) == entry) }
    }

    @Test("texts of links and paths that are none, and bits beyond the permissions, are not taken from the wire")
    func hostile() throws {
        var link = ManifestEntry(path: try path("a"), kind: .symlink(Array("b".utf8))).wire
        for text in ["", "a\0b", String(repeating: "a", count: 4096)] {
            link.linkTarget = text.data(using: .utf8) ?? link.linkTarget
            #expect(throws: SyncViolation.self) { try ManifestEntry(link) }
        }
        // Where it leads is for the target to judge.
        link.linkTarget = "/usr/bin/python3".data(using: .utf8) ?? link.linkTarget
        #expect(try ManifestEntry(link).kind == .symlink(Array("/usr/bin/python3".utf8)))
        var outside = try file("a", 1).wire
        outside.path = "../a".data(using: .utf8) ?? outside.path
        #expect(throws: SyncViolation.self) { try ManifestEntry(outside) }
        var setuid = try file("a", 1).wire
        setuid.mode = 0o4777
        #expect(try ManifestEntry(setuid).mode == 0o777)
    }

    @Test("each difference has its action")
    func actions() throws {
        let wanted = [
            try file("a", 1), try file("b", 2), try file("c", 3, mode: 0o600), try file("d", 4),
            try file("e", 5, size: 10),
            try file("f", nil), try file("g", 6), ManifestEntry(path: try path("h"), kind: .directory),
        ]
        let present = [
            try file("b", 2), try file("c", 3), try file("d", 9), try file("e", 9, size: 10), try file("f", 7),
            try file("g", nil), try file("gone", 1), try file("h", 1),
        ]
        let diff = ManifestDiff(wanted: wanted, present: present)
        #expect(diff.actions == [.fetch, .keep, .attributes, .update, .fetch, .update, .compare, .make])
        #expect(diff.presentIndex == [-1, 0, 1, 2, 3, 4, 5, 7])
        // The file that is to become a directory, and the one nobody wants.
        #expect(diff.removals == [7, 6])
    }

    @Test("what is removed comes after what it holds")
    func removals() throws {
        let present = [
            ManifestEntry(path: try path("d"), kind: .directory),
            ManifestEntry(path: try path("d/e"), kind: .directory),
            try file("d/e/f", 1),
        ]
        #expect(ManifestDiff(wanted: [], present: present).removals == [2, 1, 0])
    }

    @Test("the digest of a manifest tells every difference that is carried")
    func digests() throws {
        let entries = [try file("a", 1), ManifestEntry(path: try path("b"), kind: .symlink([0x61])), try file("c", 2)]
        let whole = ManifestDigest.compute(entries, without: [], by: toyDigest)
        var changes: [[ManifestEntry]] = []
        for index in entries.indices {
            var other = entries
            other.remove(at: index)
            changes.append(other)
        }
        changes.append([try file("a", 1, mode: 0o600)] + entries.dropFirst())
        changes.append([try file("a", 9)] + entries.dropFirst())
        changes.append([try file("a", 1, size: 5)] + entries.dropFirst())
        for other in changes { #expect(ManifestDigest.compute(other, without: [], by: toyDigest) != whole) }
        #expect(
            ManifestDigest.compute(entries, without: [2], by: toyDigest)
                == ManifestDigest.compute(Array(entries.dropLast()), without: [], by: toyDigest)
        )
    }
}
