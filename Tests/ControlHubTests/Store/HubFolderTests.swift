import Foundation
import Glibc
import Testing

@testable import ControlHub

/// Everything that somebody could put in the place of a file.
@Suite("HubFolder")
struct HubFolderTests {
    private let outside: String
    private let folder: HubFolder

    init() throws {
        let base = FileManager.default.temporaryDirectory.appending(path: "hub-folder-\(UUID().uuidString)").path
        outside = base + "/outside"
        for path in [base, outside, base + "/data", base + "/data/tls"] { #expect(mkdir(path, 0o755) == 0) }
        try Data("theirs".utf8).write(to: URL(filePath: outside + "/file"))
        folder = HubFolder(base + "/data")
    }

    private func code(_ body: () throws(HubFolder.Failure) -> Void) -> Int32? {
        do throws(HubFolder.Failure) {
            try body()
            return nil
        } catch {
            return error.code
        }
    }

    private var theirs: String? { try? String(contentsOfFile: outside + "/file", encoding: .utf8) }

    @Test("What was written is read again, and nothing is no failure")
    func roundTrip() throws {
        try folder.replace("tls/ca.pem", with: Data("one".utf8), mode: 0o644)
        try folder.replace("tls/ca.pem", with: Data("two".utf8), mode: 0o644)
        #expect(try folder.read("tls/ca.pem") == Data("two".utf8))
        #expect(try folder.read("none") == nil && folder.names(in: "none").isEmpty)
        #expect(try folder.names(in: "tls") == ["ca.pem"])
        try folder.remove("none")
        try folder.makeFolder("logs/bot/node")
        try folder.replace("logs/bot/node/0.log", with: Data())
        try folder.removeTree("logs/bot")
        #expect(try folder.names(in: "logs").isEmpty)
    }

    @Test("Links, FIFOs and devices are told at once and neither read, written nor followed", .timeLimit(.minutes(1)))
    func others() throws {
        #expect(symlink(outside + "/file", folder.file("link")) == 0)
        #expect(mkfifo(folder.file("fifo"), 0o600) == 0)
        for (name, expected) in [("link", ELOOP), ("fifo", ENXIO), ("tls", ENXIO)] {
            #expect(code { () throws(HubFolder.Failure) in _ = try folder.read(name) } == expected, "\(name)")
            #expect(code { () throws(HubFolder.Failure) in try folder.checkFile(name) } == expected, "\(name)")
        }
        #expect(code { () throws(HubFolder.Failure) in close(try folder.open("link", O_WRONLY | O_TRUNC)) } == ELOOP)
        // What was planted for the temporary file goes, and what it led to stays.
        #expect(symlink(outside + "/file", folder.file("key.new")) == 0)
        try folder.replace("key", with: Data("mine".utf8))
        #expect(theirs == "theirs")
        // A link in the file's own place is replaced, not followed.
        try folder.replace("link", with: Data("mine".utf8))
        #expect(theirs == "theirs")
        #expect(try folder.read("link") == Data("mine".utf8))
    }

    @Test("A link in the middle of a path leads nowhere")
    func middle() throws {
        #expect(symlink(outside, folder.file("logs")) == 0)
        let seen = [
            code { () throws(HubFolder.Failure) in _ = try folder.read("logs/file") },
            code { () throws(HubFolder.Failure) in try folder.replace("logs/file", with: Data()) },
            code { () throws(HubFolder.Failure) in try folder.remove("logs/file") },
            code { () throws(HubFolder.Failure) in try folder.makeFolder("logs/new") },
            code { () throws(HubFolder.Failure) in _ = try folder.names(in: "logs") },
        ]
        #expect(seen.allSatisfy { $0 == ENOTDIR || $0 == ELOOP }, "\(seen)")
        // The link itself goes, what it leads to stays.
        try folder.removeTree("logs")
        #expect(theirs == "theirs" && access(folder.file("logs"), F_OK) != 0 && access(outside + "/new", F_OK) != 0)
    }

    @Test("Root takes no second name of somebody else's file", .enabled(if: geteuid() == 0, "is about root"))
    func secondName() throws {
        #expect(link(outside + "/file", folder.file("hub.key")) == 0)
        #expect(code { () throws(HubFolder.Failure) in _ = try folder.read("hub.key") } == EMLINK)
    }

    @Test("The database is not opened where something else has one of its names", arguments: ["", "-wal", "-shm"])
    func database(suffix: String) throws {
        #expect(mkfifo(folder.file("hub.sqlite" + suffix), 0o600) == 0)
        let error = #expect(throws: HubError.self) { try HubDatabase(path: folder.file("hub.sqlite")) }
        #expect(error?.detail.contains("no regular file") == true)
    }
}
