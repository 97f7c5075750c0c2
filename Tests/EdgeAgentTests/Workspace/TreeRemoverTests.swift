import Foundation
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

@Suite("Removing what a bot left behind, without the rights of root")
struct TreeRemoverTests {
    /// For who is not root the kernel refuses what a mode forbids. Rights over files are a thread's own (setfsuid), and
    /// nothing below leaves the thread it begins on.
    private static func withoutRights<Result>(_ body: (String) throws -> Result) throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "remover-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        chmod(folder, 0o777)
        let isRoot = geteuid() == 0
        if isRoot { try setUser(65534) }
        defer { if isRoot { try? setUser(0) } }
        return try body(folder)
    }

    /// Swift's Glibc does not have it.
    private static func setUser(_ user: uid_t) throws {
        let symbol = try #require(dlsym(nil, "setfsuid"))
        _ = unsafeBitCast(symbol, to: (@convention(c) (uid_t) -> Int32).self)(user)
    }

    private static func write(_ path: [UInt8]) throws {
        let descriptor = open(path.map(CChar.init(bitPattern:)) + [0], O_WRONLY | O_CREAT, 0o400)
        try #require(descriptor >= 0)
        close(descriptor)
    }

    /// Closed, unreadable and unwritable directories in one another, a link to `outside`, a name that is not UTF-8.
    private static func fill(_ root: String, outside: String) throws {
        mkdir(root, 0o755)
        try write(Array(root.utf8) + [0x2F, 0xFF, 0xC3, 0x28])
        mkdir(root + "/shut", 0o755)
        mkdir(root + "/shut/blind", 0o755)
        mkdir(root + "/shut/blind/deep", 0o755)
        try write(Array((root + "/shut/blind/deep/file").utf8))
        try write(Array((root + "/shut/file").utf8))
        symlink(outside, root + "/shut/link")
        for (path, mode) in [("/shut/blind/deep", 0o555), ("/shut/blind", 0), ("/shut", 0o500), ("", 0o555)] {
            #expect(chmod(root + path, mode_t(mode)) == 0)
        }
    }

    @Test(
        "a directory goes with everything in it, whatever rights were taken away; what a link leads to stays as it is"
    )
    func removes() throws {
        try Self.withoutRights { folder in
            let outside = folder + "/outside"
            mkdir(outside, 0o755)
            try Self.write(Array((outside + "/kept").utf8))
            chmod(outside, 0o555)
            try Self.fill(folder + "/tree", outside: outside)
            let parent = try BeneathDirectory(folder)
            try TreeRemover(bin: folder + "/bin").remove(Array("tree".utf8CString), of: parent.descriptor, path: .root)
            try TreeRemover(bin: folder + "/bin").empty()
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["outside"])
            var status = stat()
            #expect(stat(outside, &status) == 0 && status.st_mode & 0o777 == 0o555)
            #expect(access(outside + "/kept", F_OK) == 0)
        }
    }

    @Test("a bot's files go with its workspace, or stay where they are to be kept")
    func forgets() throws {
        try Self.withoutRights { folder in
            for name in ["/bots", "/bots/a"] { mkdir(folder + name, 0o700) }
            let bot = try BotDirectory(root: folder + "/bots", botID: "a")
            try bot.makeControl()
            mkdir(bot.logs, 0o700)
            try Self.write(Array((bot.logs + "/0").utf8))
            try Self.fill(bot.workspace, outside: folder)
            try bot.remove(keeping: [.workspace, .log])
            #expect(access(bot.workspace + "/shut", F_OK) == 0 && access(bot.logs + "/0", F_OK) == 0)
            try bot.remove(keeping: [.log])
            #expect(access(bot.workspace, F_OK) != 0 && access(bot.logs + "/0", F_OK) == 0)
            try bot.remove(keeping: [])
            for name in ["/bots", "/bots-control"] {
                #expect(try FileManager.default.contentsOfDirectory(atPath: folder + name).isEmpty)
            }
        }
    }

    @Test("a directory that cannot be moved after all has the rights it had")
    func putsBack() throws {
        try Self.withoutRights { folder in
            let closed = folder + "/closed"
            mkdir(closed, 0o755)
            mkdir(closed + "/inner", 0o555)
            chmod(closed, 0o555)
            let parent = try BeneathDirectory(closed)
            #expect(throws: WorkspaceFailure.self) {
                try TreeRemover(bin: folder + "/bin").remove(
                    Array("inner".utf8CString),
                    of: parent.descriptor,
                    path: .root
                )
            }
            var status = stat()
            #expect(stat(closed + "/inner", &status) == 0 && status.st_mode & 0o777 == 0o555)
        }
    }
}
