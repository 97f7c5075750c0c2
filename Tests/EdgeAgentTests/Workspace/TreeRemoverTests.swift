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

    /// FS_IOC_GETFLAGS and FS_IOC_SETFLAGS with FS_IMMUTABLE_FL.
    private static func setImmutable(_ path: String, _ isImmutable: Bool) -> Bool {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var flags: Int = 0
        guard ioctl(descriptor, 0x8008_6601, &flags) == 0 else { return false }
        flags = isImmutable ? flags | 0x10 : flags & ~0x10
        return ioctl(descriptor, 0x4008_6602, &flags) == 0
    }

    private static func failure(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch {
            return (error as? RuntimeError)?.message ?? "\(error)"
        }
    }

    @Test(
        "what is mounted stays with all it holds, what is immutable stays, all else goes, and each is named; then the rest goes",
        .enabled(if: geteuid() == 0, "mounting needs root")
    )
    func stays() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "remover-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder + "/bots", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let bot = try BotDirectory(root: folder + "/bots", botID: "a")
        try bot.make()
        let (near, deep) = (bot.workspace + "/near", bot.workspace + "/some/where/deep")
        for path in [near, deep, bot.path + "/own"] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
        var mounts: [String] = []
        defer { for path in mounts { umount2(path, Int32(MNT_DETACH)) } }
        for path in [near, deep, bot.path + "/own"] {
            try #require(mount("tmpfs", path, "tmpfs", 0, "size=1m") == 0)
            mounts.append(path)
            try Self.write(Array((path + "/owners").utf8))
        }
        for name in ["/plain", "/some/plain", "/some/where/plain", "/some/where/fixed"] {
            try Self.write(Array((bot.workspace + name).utf8))
        }
        let fixed = bot.workspace + "/some/where/fixed"
        let isImmutable = Self.setImmutable(fixed, true)
        let message = try #require(Self.failure { try bot.remove(keeping: []) })
        for name in ["workspace/near", "workspace/some/where/deep", "own"] {
            #expect(message.contains("\(name) (a file system is mounted there"), "\(message)")
        }
        #expect(message.contains("\(isImmutable ? 4 : 3) entries could not be deleted"), "\(message)")
        #expect(!isImmutable || message.contains("workspace/some/where/fixed (it is immutable"), "\(message)")
        #expect(access(near + "/owners", F_OK) == 0 && access(bot.path + "/own/owners", F_OK) == 0)
        // Where it lies now the message says.
        let places = message.split(separator: "it lies at ").dropFirst().map { $0.prefix { $0 != " " } }
        let moved = try #require(places.first { $0.hasSuffix("/deep") })
        #expect(access(bot.path + "/\(moved)/owners", F_OK) == 0)
        let left = try FileManager.default.subpathsOfDirectory(atPath: bot.path)
        #expect(!left.contains { $0.hasSuffix("plain") }, "\(left)")
        #expect(Self.failure { try bot.remove(keeping: []) } != nil, "it is no better the second time")

        for path in [near, bot.path + "/own", bot.path + "/\(moved)"] { #expect(umount(path) == 0, "\(path)") }
        mounts = []
        if isImmutable {
            let place = try #require(left.first { $0.hasSuffix("/fixed") })
            #expect(Self.setImmutable(bot.path + "/" + place, false))
        }
        try bot.remove(keeping: [])
        #expect(access(bot.path, F_OK) != 0)
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
