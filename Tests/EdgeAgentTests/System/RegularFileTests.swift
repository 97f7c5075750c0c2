import Glibc
import Testing

@testable import EdgeAgent

/// What a bot can put in the place of a file. Without the safe opener most of these do not fail: they never end.
@Suite("Files at paths that a bot can write", .timeLimit(.minutes(1)))
struct RegularFileTests {
    /// Something that is no regular file, made at a path.
    enum Trap: CaseIterable {
        case fifo, link, danglingLink, directory, socket

        func set(_ path: String, _ folder: FixtureFolder) throws {
            switch self {
            case .fifo: #expect(mkfifo(path, 0o600) == 0)
            case .link:
                try folder.write("elsewhere", "secret")
                #expect(symlink(folder.path + "/elsewhere", path) == 0)
            case .danglingLink: #expect(symlink(folder.path + "/nowhere", path) == 0)
            case .directory: #expect(mkdir(path, 0o700) == 0)
            case .socket:
                let slash = try #require(path.lastIndex(of: "/"))
                let name = String(path[path.index(after: slash)...])
                let directory = String(path[..<slash])
                let socket = LocalSocket(directory: directory, name: name, type: SOCK_STREAM, patienceSeconds: 1)
                close(try #require(socket.listen(waiting: 1)))
            }
        }
    }

    @Test(
        "Only a regular file is opened, for reading and for writing, and nothing is waited for",
        arguments: Trap.allCases
    )
    func refuses(_ trap: Trap) throws {
        let folder = try FixtureFolder()
        let path = folder.path + "/file"
        try trap.set(path, folder)
        defer { remove(path) }
        for flags in [O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_CREAT, O_WRONLY | O_CREAT | O_TRUNC] {
            errno = 0
            #expect(RegularFile.open(path, flags) == -1)
            #expect([ENXIO, ELOOP, EISDIR].contains(errno))
        }
        #expect(throws: Files.Failure.self) { try Files.read(path) }
        #expect(access(folder.path + "/nowhere", F_OK) != 0)
    }

    @Test("A bot's configuration that is no file any more is told, and the agent goes on", arguments: Trap.allCases)
    func configuration(_ trap: Trap) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let folder = try FixtureFolder()
        let backend = try bench.backend()
        let profile = bench.shell("exit 0")
        try await backend.prepare(botID: "a", configuration: Array("{}".utf8), profile: profile)
        let path = bench.directory("a") + "/config.json"
        unlink(path)
        try trap.set(path, folder)
        defer { remove(path) }
        // A link to a file of somebody else is not read through either.
        let error = await #expect(throws: RuntimeError.self) {
            try await backend.prepare(botID: "a", configuration: [], profile: profile)
        }
        #expect(error?.message.contains("config.json") == true)
    }

    @Test("A pipe that a shell puts in the place of a file is read where the owner names it")
    func named() throws {
        let folder = try FixtureFolder()
        try folder.write("token", "abc")
        let link = folder.path + "/link"
        #expect(symlink(folder.path + "/token", link) == 0)
        defer { unlink(link) }
        #expect(try Files.readNamed(link) == Array("abc".utf8))
        #expect(try Files.read(link, followsLinks: true) == Array("abc".utf8))
        #expect(throws: Files.Failure.self) { try Files.read(link) }
    }
}
