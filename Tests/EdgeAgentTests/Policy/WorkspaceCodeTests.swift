import Glibc
import Testing

@testable import EdgeAgent

/// Against a real directory tree: the tricks are the file system's.
@Suite("WorkspaceCode")
struct WorkspaceCodeTests {
    private let folder: FixtureFolder
    private let home: String
    private let workspace: String

    init() throws {
        folder = try FixtureFolder()
        try folder.write("bots/a/workspace/notes.md", "")
        try folder.write("bots/a/workspace/app/bot.py", "")
        try folder.write("bots/a/workspace/app/helper.py", "")
        try folder.write("bots/a/workspace/data/x", "")
        try folder.write("opt/run", "")
        try folder.write("opt/bot.py", "")
        chmod(folder.path + "/opt/run", 0o755)
        home = folder.path + "/bots/a"
        workspace = home + "/workspace"
    }

    private func profile(
        _ words: [String],
        _ environment: [String: String] = [:],
        backend: BackendKind = .native
    ) -> RuntimeProfile {
        var profile = RuntimeProfile(name: words.first ?? "none", command: CommandTemplate(words: words))
        profile.environment = environment
        profile.backend = backend
        return profile
    }

    private func code(_ words: String..., environment: [String: String] = [:], backend: BackendKind = .native)
        -> WorkspaceCode
    {
        WorkspaceCode([profile(words, environment, backend: backend)], bot: "a", at: .init(home: home))
    }

    private func isRefused(_ path: String, _ code: WorkspaceCode) -> Bool {
        (try? Policy.standard.checkWrite(path, code: code)) == nil
    }

    @Test(
        "Who tells a program where it works leaves the workspace to the hub",
        arguments: [
            "OPT/run --config {config} --workspace {workspace}", "OPT/run {config} {workspace}",
            "OPT/run --ws {workspace} --data {workspace}/data", "/usr/bin/python3 -u OPT/bot.py {config} {workspace}",
            "/usr/bin/python3 -u OPT/bot.py --config {config} --workspace={workspace}",
            "/usr/bin/python3 -m nanobot gateway --config {config} --workspace {workspace}",
            "/usr/bin/env LANG=C nice -n 5 OPT/run --workspace {workspace}",
            "/bin/sh -c 'exec OPT/run --config {config}'",
            "/bin/sh -c 'test ! -e \"$0\" && exec \"$@\"' /x /usr/bin/env python3 OPT/bot.py --config {config} --workspace {workspace}",
            "timeout 60 OPT/run --workspace {workspace}", "OPT/run gateway --workspace {workspace}",
            "/home/me/workspace/bot/run --workspace {workspace}",
        ]
    )
    func told(line: String) throws {
        let words = try CommandTemplate(parsing: line.replacing("OPT", with: folder.path + "/opt")).words
        for backend in [BackendKind.native, .docker] where !line.contains("{config} {workspace}") || backend == .native
        {
            let code = WorkspaceCode([profile(words, backend: backend)], bot: "a", at: .init(home: home))
            #expect(code.claims.isEmpty, "\(line): \(code.claims)")
            #expect(!isRefused("app/bot.py", code))
        }
    }

    @Test(
        "Where the words do not say which files are run, the whole workspace is code",
        arguments: [
            "/bin/sh -c 'cd {workspace} && exec ./run'", "sh -c 'exec python3 $BOT_WORKSPACE/app/bot.py'",
            "bash -lc 'python3 workspace/app/bot.py'", "/usr/bin/python3 {workspace}",
            "python3 -c 'exec(open(\"workspace/x\").read())'",
            "python3 -m workspace.app.bot", "python3 -um workspace.app", "python3 -mworkspace.app",
            "env PYTHONPATH={workspace} python3 -m app", "env -C {workspace} python3 -m app",
            "node -e 'require(\"./workspace/x\")'",
            "npm --workspace {workspace} start", "npm --prefix {workspace} start", "make -C {workspace} run",
            "uv run --directory {workspace} main.py", "gunicorn --chdir {workspace} app:app",
            "ruby -I {workspace} OPT/bot.rb",
            "perl -I{workspace} OPT/bot.pl", "java -cp {workspace} Main", "python3 {workspace}/main.py",
            "{workspace}/run",
            "OPT/run --plugin-path={workspace}", "OPT/run --mount a:{workspace}:b",
            "docker run -v {workspace}:/x image",
            "busybox sh -c 'workspace/run'", "sh -c 'exec \"$@\"' x {workspace}/run",
            "sh -c 'exec \"$1\"/run' x {workspace}",
            "sh -c 'cd $0; ./run' {workspace}", "python3 -c 'import sys; run(sys.argv[1])' {workspace}",
            "python3 -m pytest {workspace}",
        ]
    )
    func opaque(line: String) throws {
        let words = try CommandTemplate(parsing: line.replacing("OPT", with: folder.path + "/opt")).words
        let code = WorkspaceCode([profile(words)], bot: "a", at: .init(home: home))
        #expect(code.claims.contains { $0.place == .everything }, "\(line): \(code.claims)")
        #expect(isRefused("notes.md", code) && isRefused("", code))
        let container = WorkspaceCode([profile(words, backend: .docker)], bot: "a", at: .init(home: home))
        #expect(container.claims.contains { $0.place == .everything }, "\(line): \(container.claims)")
    }

    @Test("A script in the workspace is not to be overwritten, nor what lies beside it, nor its folder")
    func script() throws {
        let python = code("/usr/bin/python3", "-u", "{workspace}/app/bot.py", "--config", "x")
        for path in ["app/bot.py", "app/helper.py", "app/new.py", "app/deep/er.py", "app", ""] {
            #expect(isRefused(path, python), "\(path)")
        }
        for path in ["notes.md", "data/x", "app2", "app2/bot.py"] { #expect(!isRefused(path, python), "\(path)") }
        let allowed = Policy(local: try PolicyRules(json: Array(#"{"workspace_code": true}"#.utf8)), file: nil)
        try allowed.checkWrite("app/bot.py", code: python)
        let refusal = #expect(throws: PolicyRefusal.self) { try Policy.standard.checkWrite("app/x", code: python) }
        #expect(
            refusal?.message.contains("runtime profile \"/usr/bin/python3\" runs app/bot.py") == true
                && refusal?.message.contains(#""workspace_code": true in /etc/edge-agent/policy.json"#) == true,
            "\(refusal?.message ?? "")"
        )
    }

    @Test(
        "The same script named in other ways",
        arguments: [
            "python3 workspace/app/bot.py", "python3 ./workspace/app/bot.py", "env {workspace}/data/../app/bot.py",
            "OPT/run --main={workspace}/app/bot.py", "{workspace}/app/bot.py", "python3 -W ignore {workspace}/app/bot",
            "OPT/run --plugins {workspace}/app", "nice python3 -- {workspace}/app/bot.py",
            "OPT/run -r {workspace}/app/bot",
        ]
    )
    func otherSpellings(line: String) throws {
        let words = try CommandTemplate(parsing: line.replacing("OPT", with: folder.path + "/opt")).words
        let code = WorkspaceCode([profile(words)], bot: "a", at: .init(home: home))
        #expect(isRefused("app/bot.py", code) && !isRefused("notes.md", code), "\(line): \(code.claims)")
    }

    @Test(
        "Variables in which programs look for code",
        arguments: [
            "PYTHONPATH", "NODE_PATH", "PERL5LIB", "RUBYLIB", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "CLASSPATH",
            "MYBOT_PLUGINS",
        ]
    )
    func variables(name: String) {
        let run = folder.path + "/opt/run"
        #expect(isRefused("notes.md", code(run, environment: [name: "{workspace}"])))
        #expect(isRefused("notes.md", code(run, environment: [name: "/usr/lib:" + workspace])))
        #expect(isRefused("notes.md", code(run, environment: [name: "workspace"])))
        let lib = code(run, environment: [name: "/usr/lib:" + workspace + "/app"])
        #expect(isRefused("app/any", lib) && !isRefused("notes.md", lib))
        #expect(!isRefused("app/any", code(run, environment: ["DATA_DIR": workspace + "/app", name: "/usr/lib"])))
    }

    @Test("A script that does not exist yet may not be put there")
    func notYet() {
        let later = code("/usr/bin/python3", "{workspace}/later/bot.py")
        #expect(isRefused("later/bot.py", later) && isRefused("later", later) && !isRefused("notes.md", later))
    }

    @Test("Links are seen through, wherever they stand in the path, and may not be bent themselves")
    func links() throws {
        // current -> releases/one, and releases/one/run.py -> ../../app/bot.py
        #expect(mkdir(workspace + "/releases", 0o755) == 0 && mkdir(workspace + "/releases/one", 0o755) == 0)
        #expect(symlink("releases/one", workspace + "/current") == 0)
        #expect(symlink("../../app/bot.py", workspace + "/releases/one/run.py") == 0)
        let code = code("/usr/bin/python3", "{workspace}/current/run.py")
        for path in [
            "current", "releases", "releases/one", "releases/one/run.py", "releases/one/new", "app/bot.py",
            "app/helper.py",
        ] {
            #expect(isRefused(path, code), "\(path)")
        }
        for path in ["releases/two", "notes.md", "currents"] { #expect(!isRefused(path, code), "\(path)") }
    }

    @Test(
        "A link from elsewhere into the workspace is seen through, and one in the workspace that leads out counts itself"
    )
    func linksAcross() throws {
        #expect(symlink(workspace + "/app/bot.py", folder.path + "/opt/linked") == 0)
        #expect(isRefused("app/bot.py", code(folder.path + "/opt/linked")))
        #expect(symlink(folder.path + "/opt", workspace + "/data/out") == 0)
        let out = code("{workspace}/data/out/run")
        #expect(isRefused("data/out", out) && isRefused("data", out) && !isRefused("app/bot.py", out))
        #expect(symlink("loop", workspace + "/loop") == 0)
        #expect(isRefused("notes.md", code("{workspace}/loop/run")))
    }

    @Test("A container's paths are the node's, also behind links that mean something in the container alone")
    func container() throws {
        #expect(symlink("/bot/workspace/app", workspace + "/inside") == 0)
        let code = code("/usr/bin/python3", "{workspace}/inside/bot.py", backend: .docker)
        #expect(isRefused("app/helper.py", code) && isRefused("inside", code) && !isRefused("data/x", code))
        #expect(isRefused("app/x", self.code("/bot/workspace/app/run", backend: .docker)))
        #expect(isRefused("app/x", self.code("-u", "{workspace}/app/run", backend: .docker)))
    }

    @Test("Another tree is looked at as if it were the workspace")
    func otherTree() throws {
        try folder.write("staged/releases/bot.py", "")
        #expect(symlink("releases", folder.path + "/staged/app") == 0)
        let staged = WorkspaceCode(
            [profile(["python3", "{workspace}/app/bot.py"])],
            bot: "a",
            at: .init(home: home, tree: folder.path + "/staged")
        )
        #expect(isRefused("releases/bot.py", staged) && isRefused("app", staged))
        #expect(staged.present(in: try BeneathDirectory(folder.path + "/staged")) != nil)
        let other = WorkspaceCode(
            [profile(["python3", "{workspace}/later/bot.py"])],
            bot: "a",
            at: .init(home: home, tree: folder.path + "/staged")
        )
        #expect(other.present(in: try BeneathDirectory(folder.path + "/staged")) == nil)
    }

    @Test("Every profile of the node counts, not the one that runs today alone")
    func allProfiles() {
        let both = WorkspaceCode(
            [profile([folder.path + "/opt/run"]), profile(["python3", "{workspace}/app/bot.py"])],
            bot: "a",
            at: .init(home: home)
        )
        #expect(isRefused("app/bot.py", both) && !isRefused("notes.md", both))
    }

    @Test("Directories are compared behind their links and by whole components")
    func directories() throws {
        let allowed = folder.path + "/bots"
        let link = folder.path + "/bots/a/workspace/out"
        #expect(symlink("/etc", link) == 0)
        let policy = Policy(local: try PolicyRules(json: Array("{\"directories\": [\"\(allowed)\"]}".utf8)), file: nil)
        try policy.check(directory: allowed + "/a", from: .hub)
        for path in [
            link, "/etc", allowed + "/../opt", "relative", "/", "", allowed + "/missing", folder.path + "/bots2",
        ] {
            let refusal = #expect(throws: PolicyRefusal.self) { try policy.check(directory: path, from: .hub) }
            #expect(refusal?.rule == "directories")
        }
    }
}
