import Foundation
import Glibc
import SwiftProtobuf
import Testing
import WireFormat

@testable import EdgeAgent

/// A bot's workspace in a temporary directory.
final class TestWorkspace: Sendable {
    let bots: String
    let root: String

    init() throws {
        bots = FileManager.default.temporaryDirectory.path + "/ws-\(UInt64.random(in: 0 ... .max))"
        root = bots + "/bot/workspace"
        for directory in [root, bots + "/bot/" + BotDirectory.formerControlName] {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        }
    }

    deinit {
        // Left behind, they would only cost space.
        for path in [bots, bots + "-control"] { try? FileManager.default.removeItem(atPath: path) }
    }

    func files(_ rules: WorkspaceGuard = .open, limits: WorkspaceFiles.Limits = WorkspaceFiles.Limits())
        -> WorkspaceFiles
    {
        WorkspaceFiles(botsDirectory: bots, rules: rules, limits: limits)
    }

    func put(_ name: String, _ text: String) throws {
        let path = root + "/" + name
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent,
            withIntermediateDirectories: true
        )
        try Data(text.utf8).write(to: URL(filePath: path))
    }

    func text(_ name: String) -> String? { try? String(contentsOfFile: root + "/" + name, encoding: .utf8) }
}

@Suite("Single files of a workspace")
struct WorkspaceFilesTests {
    private func path(_ text: String) throws -> WorkspacePath { try #require(WorkspacePath(text.utf8)) }

    private func write(
        _ files: WorkspaceFiles,
        _ name: String,
        _ text: String,
        _ condition: EntryCondition = EntryCondition(),
        _ request: WireWriteFile = WireWriteFile()
    ) throws -> WireWorkspaceEntry {
        let replacement = try files.replace("bot", try path(name), request, condition)
        try Array(text.utf8).withUnsafeBytes { try replacement.append($0) }
        return try replacement.commit()
    }

    private func expect(_ code: WorkspaceFailure.Code, _ what: String = "", _ body: () throws -> Void) {
        do {
            try body()
            Issue.record("no failure, expected \(code) \(what)")
        } catch let failure as WorkspaceFailure {
            #expect(failure.code == code, "\(failure) \(what)")
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test("a symbolic link leads nowhere outside, neither at the end nor in the middle", arguments: [true, false])
    func escape(usesOpenat2: Bool) throws {
        let place = try TestWorkspace()
        let secret = place.bots + "/secret"
        try FileManager.default.createDirectory(atPath: secret, withIntermediateDirectories: true)
        try Data("no".utf8).write(to: URL(filePath: secret + "/key"))
        symlink(secret, place.root + "/out")
        symlink("../../secret", place.root + "/up")
        symlink(secret + "/key", place.root + "/file")
        symlink("/proc/self/root" + secret, place.root + "/magic")
        let root = try BeneathDirectory(place.root, usesOpenat2: usesOpenat2)
        for name in ["out/key", "up/key", "file", "magic/key", "out", "magic"] {
            expect(.outside, name) {
                let target = try path(name)
                do throws(WorkspaceFailure) {
                    close(try root.open(target, O_RDONLY, followsLinks: true))
                } catch  where error.code == .notADirectory {
                    // Without openat2 a link in the middle is no directory.
                    throw WorkspaceFailure(.outside, "")
                }
            }
        }
        let files = place.files()
        for name in ["out/new", "up/new", "magic/new"] {
            expect(.outside, name) { _ = try write(files, name, "x") }
            expect(.outside, name) { _ = try files.makeDirectory("bot", try path(name), WireMakeDirectory()) }
        }
        expect(.outside) { _ = try files.list("bot", try path("out"), WireListDirectory()) }
        expect(.outside) { _ = try files.remove("bot", try path("out/key"), WireRemoveEntry(), EntryCondition()) }
        #expect(FileManager.default.fileExists(atPath: secret + "/key"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: secret) == ["key"])
        // The link itself may go, and what it led to stays.
        _ = try files.remove("bot", try path("out"), WireRemoveEntry.with { $0.recursive = true }, EntryCondition())
        #expect(FileManager.default.fileExists(atPath: secret + "/key"))
    }

    @Test("links inside are followed for reading; writing replaces no link")
    func insideLinks() throws {
        let place = try TestWorkspace()
        try place.put("real/file", "hello")
        symlink("real", place.root + "/alias")
        symlink("real/file", place.root + "/short")
        let files = place.files()
        let (reader, entry) = try files.open("bot", try path("alias/file"))
        #expect(try reader.read(10, at: 0) == Array("hello".utf8))
        #expect(entry.size == 5)
        #expect(try files.open("bot", try path("short")).1.size == 5)
        _ = try write(files, "alias/file", "new")
        #expect(place.text("real/file") == "new")
        expect(.notAFile) { _ = try write(files, "short", "x") }
        #expect(try files.entry("bot", try path("short")).type == .symlink)
    }

    @Test("a directory that becomes a link while it is being written to leads nowhere")
    func race() async throws {
        let place = try TestWorkspace()
        let outside = place.bots + "/outside"
        try FileManager.default.createDirectory(atPath: outside, withIntermediateDirectories: true)
        try FileManager.default.createDirectory(atPath: place.root + "/d", withIntermediateDirectories: true)
        symlink(outside, place.root + "/link")
        let (directory, link, spare) = (place.root + "/d", place.root + "/link", place.root + "/spare")
        let files = place.files()
        let isOver = Signal()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                // Exchanges directory and link as fast as it can.
                while isOver.ticket == 0 {
                    rename(directory, spare)
                    rename(link, directory)
                    rename(directory, link)
                    rename(spare, directory)
                }
            }
            for index in 0..<300 {
                guard let target = WorkspacePath("d/f\(index)".utf8) else { continue }
                // Either it works or it is refused; where it ends up is looked at below.
                let replacement = try? files.replace("bot", target, WireWriteFile(), EntryCondition())
                _ = try? replacement?.commit()
            }
            isOver.wake()
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: outside).isEmpty)
    }

    @Test("an uploaded file is seen whole or not at all, and what was abandoned leaves nothing")
    func atomic() throws {
        let place = try TestWorkspace()
        try place.put("a", "old")
        let files = place.files()
        do {
            let half = try files.replace("bot", try path("a"), WireWriteFile(), EntryCondition())
            try Array("half".utf8).withUnsafeBytes { try half.append($0) }
            #expect(place.text("a") == "old")
        }
        #expect(place.text("a") == "old")
        chmod(place.root + "/a", 0o640)
        let entry = try write(files, "a", "new")
        #expect(place.text("a") == "new")
        #expect(entry.mode == 0o640, "the old one's permissions stay")
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.root) == ["a"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.bots + "/bot/.agent/uploads").isEmpty)
    }

    @Test("conditions hold until the last moment")
    func conditions() throws {
        let place = try TestWorkspace()
        let files = place.files()
        var absent = EntryCondition()
        absent.isAbsent = true
        let first = try write(files, "a", "1", absent)
        expect(.changed) { _ = try write(files, "a", "2", absent) }
        var match = EntryCondition()
        match.tags = [first.tag]
        let racing = try files.replace("bot", try path("a"), WireWriteFile(), match)
        _ = try write(files, "a", "other")
        expect(.changed) { _ = try racing.commit() }
        expect(.changed) { _ = try files.remove("bot", try path("a"), WireRemoveEntry(), match) }
        #expect(place.text("a") == "other")
        match.tags = ["*"]
        expect(.changed) { _ = try write(files, "missing", "x", match) }
    }

    @Test("lists go on where they stopped, in the order of the bytes of the names")
    func lists() throws {
        let place = try TestWorkspace()
        for index in 0..<25 { try place.put("f\(index)", "") }
        try place.put("dir/x", "")
        let files = place.files()
        var names: [[UInt8]] = []
        var request = WireListDirectory()
        request.limit = 7
        while true {
            let listing = try files.list("bot", .root, request)
            names += listing.entries.map { Array($0.name) }
            guard !listing.isLast, let last = listing.entries.last else { break }
            request.after = last.name
        }
        #expect(names.count == 26)
        #expect(names == names.sorted { $0.lexicographicallyPrecedes($1) })
        #expect(try files.list("bot", try path("dir"), WireListDirectory()).entries.map(\.type) == [.file])
    }

    @Test("odd names are names")
    func oddNames() throws {
        let place = try TestWorkspace()
        let files = place.files()
        let odd = try #require(WorkspacePath([0xFF, 0x0A, 0x20, 0x80]))
        let replacement = try files.replace("bot", odd, WireWriteFile(), EntryCondition())
        _ = try replacement.commit()
        #expect(try files.list("bot", .root, WireListDirectory()).entries.map { Array($0.name) } == [odd.bytes])
        _ = try files.remove("bot", odd, WireRemoveEntry(), EntryCondition())
    }

    @Test("a tree deeper than any path is removed")
    func deepRemoval() throws {
        let place = try TestWorkspace()
        let name = String(repeating: "d", count: 200)
        var directory = open(place.root, O_RDONLY | O_DIRECTORY)
        for _ in 0..<40 {
            mkdirat(directory, name, 0o755)
            let next = openat(directory, name, O_RDONLY | O_DIRECTORY)
            close(directory)
            directory = next
        }
        close(openat(directory, "leaf", O_WRONLY | O_CREAT, 0o600))
        fchmod(directory, 0o555)
        close(directory)
        let files = place.files()
        expect(.notEmpty) { _ = try files.remove("bot", try path(name), WireRemoveEntry(), EntryCondition()) }
        _ = try files.remove("bot", try path(name), WireRemoveEntry.with { $0.recursive = true }, EntryCondition())
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.root).isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.bots + "/bot/.agent/removed").isEmpty)
    }

    @Test("limits, kinds and rules are told as such")
    func refusals() throws {
        let place = try TestWorkspace()
        try place.put("d/x", "")
        mkfifo(place.root + "/pipe", 0o600)
        var limits = WorkspaceFiles.Limits()
        limits.maxFileBytes = 10
        let files = place.files(limits: limits)
        expect(.tooLarge) { _ = try write(files, "a", String(repeating: "x", count: 11)) }
        expect(.tooLarge) { _ = try files.replace("bot", try path("a"), .with { $0.size = 11 }, EntryCondition()) }
        expect(.isADirectory) { _ = try write(files, "d", "x") }
        expect(.isADirectory) { _ = try files.open("bot", try path("d")) }
        expect(.notAFile) { _ = try files.open("bot", try path("pipe")) }
        expect(.notAFile) { _ = try write(files, "pipe", "x") }
        expect(.notFound) { _ = try files.open("bot", try path("nothing")) }
        expect(.notFound) { _ = try write(files, "no/such/dir", "x") }
        _ = try write(files, "no/such/dir", "x", EntryCondition(), .with { $0.makeParents = true })
        expect(.exists) { _ = try files.makeDirectory("bot", try path("d"), WireMakeDirectory()) }
        expect(.refused) { _ = try files.remove("bot", .root, WireRemoveEntry(), EntryCondition()) }
        expect(.botNotFound) { _ = try files.list("nobody", .root, WireListDirectory()) }
        expect(.botNotFound) { _ = try files.list("../bot", .root, WireListDirectory()) }
        limits.maxFileBytes = .max
        limits.reserveBytes = 1 << 60
        let full = place.files(limits: limits)
        expect(.diskFull) { _ = try full.replace("bot", try path("a"), .with { $0.size = 5 }, EntryCondition()) }
        let guarded = WorkspaceGuard(
            rules: { _ in { access, path in access == .write && path.description == "run.py" ? "rule" : nil } },
            installation: { _, _ in nil },
            fileBytes: { nil },
            workspaceBytes: { nil }
        )
        expect(.refused) { _ = try write(place.files(guarded), "run.py", "x") }
        _ = try write(place.files(guarded), "data", "x")
    }

    @Test(
        "a full disk is told while writing, and the old file stays",
        .enabled(if: geteuid() == 0, "mounting needs root")
    )
    func fullDisk() throws {
        let place = try TestWorkspace()
        guard mount("tmpfs", place.bots, "tmpfs", 0, "size=1m") == 0 else { return }
        defer { umount2(place.bots, Int32(MNT_DETACH)) }
        try FileManager.default.createDirectory(atPath: place.root, withIntermediateDirectories: true)
        try place.put("a", "old")
        var limits = WorkspaceFiles.Limits()
        limits.reserveBytes = 0
        expect(.diskFull) { _ = try write(place.files(limits: limits), "a", String(repeating: "x", count: 2 << 20)) }
        #expect(place.text("a") == "old")
        _ = try write(place.files(limits: limits), "a", "new")
    }
}
