import Foundation
import Glibc
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// What a tree may hold, each by itself; `random` mixes them.
extension SyncTests {
    private func write(_ path: [UInt8], _ bytes: [UInt8]) {
        let descriptor = open(path.map(CChar.init(bitPattern:)) + [0], O_WRONLY | O_CREAT, 0o644)
        bytes.withUnsafeBytes { #expect(Glibc.write(descriptor, $0.baseAddress, $0.count) == $0.count) }
        close(descriptor)
    }

    private func facts(_ path: String) throws -> stat {
        var status = stat()
        try #require(lstat(path, &status) == 0, "\(path)")
        return status
    }

    @Test("Names of any bytes, of files, directories and links")
    func oddNames() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        let names: [[UInt8]] =
            [
                "\\", "*", "?", " ", "  lead", "trail ", "\n", "a\r\nb", "\t", "-", "--", "~", "...", "..a", "#", "%2f",
                "$(x)",
            ]
            .map { Array($0.utf8) } + [
                // No UTF-8, and two ways of writing one letter.
                [0xFF, 0xFE], [0xC3, 0x28], [0x80], [0x01], [0x7F], Array("e\u{301}".utf8), Array("\u{E9}".utf8),
                [UInt8](repeating: 0x78, count: 255),
            ]
        let root = Array(source.root.utf8) + [0x2F]
        for name in names {
            write(root + name, name)
            let directory = root + [0x64] + name.prefix(254)
            mkdir(directory.map(CChar.init(bitPattern:)) + [0], 0o755)
            write(directory + [0x2F] + name, [])
            symlink(name.map(CChar.init(bitPattern:)) + [0], (root + [0x6C] + name.prefix(254)).map(CChar.init) + [0])
        }
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(report.skippedCount == 0 && report.entries == UInt64(names.count * 4))
        let found = try tree(target).described()
        #expect(found == (try TestTree(root: source.root).described()))
    }

    @Test("Holes stay holes, and files of nothing but a hole or of nothing at all are carried")
    func holes() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("empty", "")
        let sparse = open(source.root + "/sparse", O_RDWR | O_CREAT, 0o644)
        for place in [0, 100 << 20, (256 << 20) - 4] { pwrite(sparse, "data", 4, off_t(place)) }
        close(sparse)
        let hole = open(source.root + "/hole", O_RDWR | O_CREAT, 0o644)
        ftruncate(hole, 300 << 20)
        close(hole)
        try await joined(source, target) { from, to in
            let report = try await TestRelay.run(from: from, to: to)
            #expect(report.totalBytes == 556 << 20)
            #expect(from.agentLink.sentBytes < 100 << 10)
        }
        let there = tree(target).root
        for name in ["sparse", "hole", "empty"] {
            let (here, found) = (try facts(source.root + "/" + name), try facts(there + "/" + name))
            #expect(found.st_size == here.st_size)
            #expect(found.st_blocks <= here.st_blocks + 64, "\(name) takes \(found.st_blocks) blocks")
        }
        let read = open(there + "/sparse", O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: 4)
        for place in [0, 100 << 20, (256 << 20) - 4] {
            #expect(pread(read, &bytes, 4, off_t(place)) == 4 && bytes == Array("data".utf8))
        }
        #expect(pread(read, &bytes, 4, 50 << 20) == 4 && bytes == [0, 0, 0, 0])
        close(read)
    }

    @Test("A file with many names is sent once, and stays one file, also when its names change")
    func hardLinks() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        let content = String(repeating: "0123456789", count: 10_000)
        try source.put("d/one", content)
        for name in ["a", "d/two", "z"] { link(source.root + "/d/one", source.root + "/" + name) }
        try await joined(source, target) { from, to in
            let report = try await TestRelay.run(from: from, to: to)
            #expect(report.receivedBytes == 100_000)
            let one = try facts(tree(target).root + "/a")
            #expect(one.st_nlink == 4)
            for name in ["d/one", "d/two", "z"] {
                #expect(try facts(tree(target).root + "/" + name).st_ino == one.st_ino)
            }
            // One name goes, one becomes a file of its own.
            unlink(source.root + "/a")
            unlink(source.root + "/z")
            try source.put("z", content)
            let again = try await TestRelay.run(from: from, to: to)
            #expect(again.unstable == 0)
        }
        #expect(try facts(tree(target).root + "/d/two").st_nlink == 2)
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }

    @Test("One byte changed, put in, or taken away in a large file moves a few blocks of it", arguments: [0, 1, -1])
    func oneByte(difference: Int) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        var random = SeededRandom(seed: 11)
        let large = random.noise(16 << 20)
        try Data(large).write(to: URL(filePath: source.root + "/large"))
        try await joined(source, target) { from, to in
            _ = try await TestRelay.run(from: from, to: to)
            try await Self.settle()
            var changed = large
            switch difference {
            case 0: changed[9 << 20] ^= 0xFF
            case 1: changed.insert(7, at: 9 << 20)
            default: changed.remove(at: 9 << 20)
            }
            try Data(changed).write(to: URL(filePath: source.root + "/large"))
            let report = try await TestRelay.run(from: from, to: to)
            #expect(report.receivedBytes <= 16 << 10, "\(report.receivedBytes) bytes came")
            #expect(report.unstable == 0)
        }
        #expect(try tree(target).described() == TestTree(root: source.root).described())
    }

    @Test("Twenty thousand small files go in some hundreds of messages", .timeLimit(.minutes(5)))
    func manySmall() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        for directory in 0..<200 {
            let path = source.root + "/d\(directory)"
            mkdir(path, 0o755)
            for file in 0..<100 { write(Array("\(path)/f\(file)".utf8), Array("\(directory) \(file)".utf8)) }
        }
        let report = try await joined(source, target) { from, to in
            let report = try await TestRelay.run(from: from, to: to)
            // 20,200 entries, each content with its digest, and their names and wishes: about 150 bytes a file.
            #expect(from.agentLink.sentBytes < 4 << 20)
            return report
        }
        #expect(report.added == 20_200 && report.unstable == 0)
        #expect(await install(target, report).outcome == .done)
        var count = 0
        for directory in 0..<200 {
            for file in stride(from: 0, to: 100, by: directory % 10 == 0 ? 1 : 50) {
                count += target.text("d\(directory)/f\(file)") == "\(directory) \(file)" ? 1 : 0
            }
        }
        #expect(count == 20 * 100 + 180 * 2)
    }

    /// Where an agent can die while it puts a tree in place.
    enum KillPoint: CaseIterable {
        case beforeExchange, afterExchange
    }

    @Test(
        "An agent killed while it puts the tree in place leaves the old workspace or the new one, and the next goes on",
        arguments: KillPoint.allCases
    )
    func killedWhileInstalling(_ point: KillPoint) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "new")
        try source.put("d/b", "new")
        try target.put("a", "old")
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        // What the one that is killed has done by then.
        let transfer = target.bots + "/bot/.agent/transfers/t1"
        try Data("\(try facts(transfer + "/tree").st_ino)".utf8).write(to: URL(filePath: transfer + "/installed"))
        if point == .afterExchange {
            // What the one rename of the agent comes to.
            let (tree, aside) = (transfer + "/tree", transfer + "/aside")
            #expect(rename(target.root, aside) == 0 && rename(tree, target.root) == 0 && rename(aside, tree) == 0)
        }
        #expect(target.text("a") == (point == .beforeExchange ? "old" : "new"))
        #expect((target.text("d/b") == nil) == (point == .beforeExchange))
        for _ in 0..<2 {
            #expect(await install(target, report).outcome == .done)
            #expect(target.text("a") == "new" && target.text("d/b") == "new")
        }
        #expect(await install(target, revert: true).outcome == .done)
        #expect(target.text("a") == "old" && target.text("d/b") == nil)
    }
}
