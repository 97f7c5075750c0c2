import Glibc
import Testing

@testable import EdgeAgent

@Suite("The search for an installed launcher", .serialized)
struct LauncherSearchTests {
    /// A folder that looks like a machine with several nanobots.
    private final class Machine {
        let path: String

        init() throws {
            var template = Array("/tmp/edge-agent-search-XXXXXX".utf8CString)
            path = try #require(mkdtemp(&template).map { String(cString: $0) })
        }

        deinit {
            // Left behind, it would only cost space.
            _ = try? BotDirectory(root: "/tmp", botID: String(path.dropFirst(5))).remove(keeping: [])
        }

        /// A program that answers `--version`.
        @discardableResult
        func program(_ place: String, says text: String, script: String? = nil, mode: mode_t = 0o755) throws -> String {
            let file = "\(path)/\(place)"
            try Files.makeDirectory(String(file[..<(file.lastIndex(of: "/") ?? file.startIndex)]), mode: 0o755)
            let body = script ?? "[ \"$1\" = --version ] && echo '\(text)'"
            try Files.replace(file, with: Array("#!/bin/sh\n\(body)\n".utf8), mode: mode)
            return file
        }

        /// What pip leaves of a package.
        func distribution(_ environment: String, _ name: String, entryPoints: String = "") throws {
            let folder = "\(path)/\(environment)/lib/python3.11/site-packages/\(name).dist-info"
            try Files.makeDirectory(folder, mode: 0o755)
            try Files.replace("\(folder)/entry_points.txt", with: Array(entryPoints.utf8), mode: 0o644)
        }

        func search(path programs: String = "", roots: [String] = ["opt"]) -> LauncherSearch {
            LauncherSearch(
                roots: roots.map { "\(path)/\($0)" },
                home: "\(path)/home",
                path: programs.isEmpty ? "/usr/bin:/bin" : "\(path)/\(programs):/usr/bin:/bin"
            )
        }
    }

    private static let channel = "[nanobot.channels]\nedge = nanobot_channel_edge:EdgeChannel\n"

    @Test("prefers roots to ~/.local to PATH, and in one place the newest version")
    func order() throws {
        let machine = try Machine()
        for place in ["opt/nanobot-v0.1.4.post5", "opt/nanobot-v0.1.10", "home/.local/nanobot-v9.0", "opt/other-v1"] {
            try machine.program("\(place)/bin/nanobot", says: "nanobot v1.0")
        }
        try machine.program("home/.local/bin/nanobot", says: "nanobot v1.0")
        try machine.program("usr/nanobot", says: "nanobot v1.0")
        // Neither is a program.
        try machine.program("opt/nanobot-v99/bin/nanobot", says: "", mode: 0o644)
        try Files.makeDirectory("\(machine.path)/opt/nanobot-v98/bin/nanobot", mode: 0o755)
        #expect(
            machine.search(path: "usr").candidates().map { String($0.dropFirst(machine.path.count + 1)) } == [
                "opt/nanobot-v0.1.10/bin/nanobot", "opt/nanobot-v0.1.4.post5/bin/nanobot",
                "home/.local/nanobot-v9.0/bin/nanobot", "home/.local/bin/nanobot", "usr/nanobot",
            ]
        )
    }

    @Test("takes the version the program tells, and goes on where it tells none")
    func asks() async throws {
        let machine = try Machine()
        try machine.program("opt/nanobot-v3.0/bin/nanobot", says: "", script: "echo broken >&2; exit 1")
        try machine.program("opt/nanobot-v2.0/bin/nanobot", says: "🐈 nanobot v2.0.1")
        guard case .found(let found) = await machine.search().run() else {
            Issue.record("nothing found")
            return
        }
        #expect(found.program == "\(machine.path)/opt/nanobot-v2.0/bin/nanobot")
        #expect(found.version.text == "2.0.1")
        #expect(found.environment.isEmpty, "it is not the real one")
    }

    @Test("says what was there and why it will not do")
    func nothing() async throws {
        let machine = try Machine()
        guard case .nothing(let where_) = await machine.search().run() else {
            Issue.record("found something")
            return
        }
        #expect(where_.contains("\(machine.path)/opt") && where_.contains("EDGE_NATIVE_COMMAND"))
        try machine.program("opt/nanobot-v3.0/bin/nanobot", says: "", script: "echo no module named x; exit 3")
        guard case .nothing(let why) = await machine.search().run() else {
            Issue.record("found something")
            return
        }
        #expect(why.contains("nanobot-v3.0") && why.contains("status 3") && why.contains("no module named x"))
    }

    @Test("tells the real nanobot with its channel from one without, and sets what it needs")
    func realOne() async throws {
        let machine = try Machine()
        let environment = "opt/nanobot-v0.1.4.post5"
        try machine.program("\(environment)/bin/nanobot", says: "nanobot v0.1.4.post5")
        try machine.distribution(environment, "nanobot_ai-0.1.4.post5")
        guard case .nothing(let why) = await machine.search().run() else {
            Issue.record("taken without a channel")
            return
        }
        #expect(why.contains("deploy/nanobot/install.sh"))
        try machine.distribution(environment, "nanobot_channel_edge-1.0.0", entryPoints: Self.channel)
        guard case .found(let found) = await machine.search().run() else {
            Issue.record("not taken with its channel")
            return
        }
        #expect(found.environment["NANOBOT_CHANNELS__EDGE__ENABLED"] == "true")
        #expect(found.environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True")
    }

    @Test("a release that takes no channels is refused with what to do")
    func tooNew() throws {
        let machine = try Machine()
        let program = try machine.program("opt/nanobot-v0.3.5/bin/nanobot", says: "nanobot v0.3.5")
        try machine.distribution("opt/nanobot-v0.3.5", "nanobot_ai-0.3.5")
        let problem = try #require(NanobotInstallation(program: program).problem)
        #expect(problem.contains("0.3.5") && problem.contains("0.1.4.post5"))
    }

    @Test("a program that does not answer is killed after the limit, with what it started")
    func hanging() async throws {
        let machine = try Machine()
        let program = try machine.program("bin/nanobot", says: "", script: "sleep 600 & sleep 600")
        await #expect(throws: ProgramOutput.Failure(reason: "no answer within 0.2 seconds")) {
            _ = try await ProgramOutput.of(program, [], environment: [:], limit: .milliseconds(200))
        }
    }
}

@Suite("The catalog of profiles")
struct ProfileCatalogTests {
    private let search = LauncherSearch(roots: ["/nonexistent"], home: nil, path: "/nonexistent")

    @Test("has a default that says why it cannot be used where nothing is configured or installed")
    func nothing() async throws {
        let profiles = try await ProfileCatalog(configured: [], nativeCommand: nil, search: search).profiles()
        #expect(profiles.map(\.name) == ["default"])
        #expect(profiles.first?.problem?.contains("EDGE_NATIVE_COMMAND") == true)
    }

    @Test("takes EDGE_NATIVE_COMMAND for the default, beside the profiles of the file")
    func both() async throws {
        let other = RuntimeProfile(name: "other", command: CommandTemplate(words: ["/bin/true"]))
        let profiles = try await ProfileCatalog(configured: [other], nativeCommand: "/bin/echo hi", search: search)
            .profiles()
        #expect(profiles.map(\.name) == ["default", "other"])
        #expect(profiles.first?.command.words == ["/bin/echo", "hi"])
    }

    @Test("does not guess between two defaults, or at a broken command")
    func conflict() async {
        let own = RuntimeProfile(name: "default", command: CommandTemplate(words: ["/bin/true"]))
        await #expect(throws: AgentError.self) {
            _ = try await ProfileCatalog(configured: [own], nativeCommand: "/bin/echo", search: search).profiles()
        }
        await #expect(throws: AgentError.self) {
            _ = try await ProfileCatalog(configured: [], nativeCommand: "echo 'hi", search: search).profiles()
        }
    }
}
