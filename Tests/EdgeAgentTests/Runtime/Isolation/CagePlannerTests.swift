import Glibc
import Testing

@testable import EdgeAgent

/// Where the bots of a profile may go, as far as files tell.
@Suite("Planning a cage")
struct CagePlannerTests {
    private func cage(_ bench: BotWorkbench, _ words: [String], _ change: (inout RuntimeProfile) -> Void = { _ in })
        throws
        -> Cage
    {
        var profile = RuntimeProfile(name: "p", command: CommandTemplate(words: words))
        change(&profile)
        let planner = CagePlanner(secrets: [bench.path + "/state", bench.path + "/etc/token"])
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        return try #require(
            planner.cage(profile, command: words, directory: directory, path: "/usr/bin:/bin", isRoot: false)
        )
    }

    private func make(_ bench: BotWorkbench, _ files: [String: String]) throws {
        for (name, text) in files {
            let path = bench.path + "/" + name
            try Files.makeDirectory(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]), mode: 0o755)
            try Files.replace(path, with: Array(text.utf8), mode: 0o755)
        }
    }

    private func withBench(_ body: (BotWorkbench) throws -> Void) throws {
        let bench = try BotWorkbench()
        defer {
            for name in ["app", "venv", "python", "state", "etc", "many"] {
                _ = try? TreeRemover.empty(bench.path + "/" + name, keeping: [])
                rmdir(bench.path + "/" + name)
            }
            bench.cleanUp()
        }
        try body(bench)
    }

    @Test("A bot writes its own directory, reads the system's, and its state directory's neighbours not at all")
    func standard() throws {
        try withBench { bench in
            let cage = try cage(bench, ["/bin/sh"])
            #expect(cage.writable == [bench.directory("a")])
            #expect(cage.readable.contains("/usr") && cage.readable.contains("/etc") && cage.readable.contains("/proc"))
            for place in ["/", "/tmp", "/var", "/home", "/root", "/dev", "/run", bench.path, bench.bots] {
                #expect(!cage.readable.contains(place))
            }
            #expect(!cage.devices.contains("/dev/ptmx") && !cage.opensUnixSockets)
        }
    }

    @Test("A script brings its folder along, and its interpreter")
    func script() throws {
        try withBench { bench in
            let program = bench.path + "/app/bot/main.py"
            try make(bench, ["app/bot/main.py": "#!\(bench.path)/python/bin/py -u\n", "python/bin/py": "x"])
            let cage = try cage(bench, [program])
            #expect(
                cage.readable.contains(bench.path + "/app/bot") && cage.readable.contains(bench.path + "/python/bin")
            )
            #expect(!cage.readable.contains(bench.path + "/python") && !cage.readable.contains(bench.path + "/app"))
        }
    }

    @Test("A virtual environment comes whole, with the Python it was made of")
    func virtualEnvironment() throws {
        try withBench { bench in
            try make(
                bench,
                [
                    "venv/bin/nanobot": "x", "venv/pyvenv.cfg": "version = 3\nhome = \(bench.path)/python/bin\n",
                    "python/bin/python3": "x", "python/lib/os.py": "x",
                ]
            )
            let cage = try cage(bench, [bench.path + "/venv/bin/nanobot"])
            #expect(cage.readable.contains(bench.path + "/venv") && cage.readable.contains(bench.path + "/python/lib"))
        }
    }

    @Test("A directory with a secret in it is given in pieces")
    func pieces() throws {
        try withBench { bench in
            try make(bench, ["etc/token": "x", "etc/other": "x", "etc/deep/more": "x", "state/identity.json": "x"])
            let cage = try cage(bench, ["/bin/sh"]) {
                $0.isolation.readable = [bench.path + "/etc", bench.path + "/state", bench.path + "/etc/token"]
            }
            #expect(
                cage.readable.contains(bench.path + "/etc/other") && cage.readable.contains(bench.path + "/etc/deep")
            )
            for place in ["/etc", "/etc/token", "/state", "/state/identity.json"] {
                #expect(!cage.readable.contains(bench.path + place))
            }
        }
    }

    @Test("A script beside secrets brings nothing but itself")
    func wide() throws {
        try withBench { bench in
            try make(bench, ["main.py": "x", "state/identity.json": "x"])
            defer { unlink(bench.path + "/main.py") }
            let cage = try cage(bench, ["/bin/sh", bench.path + "/main.py"])
            #expect(cage.readable.contains(bench.path + "/main.py") && !cage.readable.contains(bench.path))
        }
    }

    @Test("A profile that names the agent's own is told so")
    func ownFiles() throws {
        try withBench { bench in
            try make(bench, ["state/identity.json": "x"])
            let planner = CagePlanner(secrets: [bench.path + "/state"])
            #expect(
                planner.problem(BotIsolation(readable: [bench.path + "/state/identity.json"]))?.contains("agent's own")
                    == true
            )
            #expect(planner.problem(BotIsolation(writable: ["/usr/lib", "/nowhere"])) == nil)
        }
    }

    @Test("What only root may read below a directory is found")
    func closed() throws {
        try withBench { bench in
            try make(bench, ["etc/open": "x", "etc/shadow": "x", "etc/keys/private": "x"])
            chmod(bench.path + "/etc/shadow", 0o640)
            chmod(bench.path + "/etc/keys/private", 0o600)
            let found = GuardedPaths.closed(beneath: bench.path + "/etc")
            #expect(found.sorted() == [bench.path + "/etc/keys/private", bench.path + "/etc/shadow"])
        }
    }

    @Test("A cage is the same after it went through a launch plan")
    func roundTrip() throws {
        var plan = LaunchPlan()
        (plan.launchID, plan.executable, plan.arguments) = ("l", "/bin/sh", ["sh"])
        #expect(LaunchPlan(plan.encoded)?.cage == nil)
        plan.cage = Cage()
        #expect(LaunchPlan(plan.encoded) == plan)
        plan.cage = Cage(readable: ["/a b", "/c=d"], writable: ["/w"], devices: ["/dev/null"], opensUnixSockets: true)
        #expect(LaunchPlan(plan.encoded) == plan)
    }
}
