import Glibc
import Testing

@testable import EdgeAgent

/// Against a real directory tree: the tricks are the file system's.
@Suite("LauncherFiles")
struct LauncherFilesTests {
    private let folder: FixtureFolder
    private let workspace: String

    init() throws {
        folder = try FixtureFolder()
        try folder.write("bots/a/workspace/notes.md", "")
        try folder.write("bots/a/workspace/app/bot.py", "")
        try folder.write("bots/a/workspace/app/helper.py", "")
        try folder.write("bots/a/workspace/data/x", "")
        try folder.write("opt/run", "")
        chmod(folder.path + "/opt/run", 0o755)
        workspace = folder.path + "/bots/a/workspace"
    }

    private func launcher(_ command: String...) -> LauncherFiles {
        LauncherFiles(command: command, workingDirectory: folder.path + "/bots/a", workspace: workspace)
    }

    private func isRefused(_ path: String, _ launcher: LauncherFiles) -> Bool {
        (try? Policy.standard.checkWrite(path, launcher: launcher)) == nil
    }

    @Test("A launcher outside the workspace leaves the workspace to the hub")
    func outside() {
        let plain = launcher(
            folder.path + "/opt/run",
            "--config",
            folder.path + "/bots/a/config.json",
            "--ws",
            workspace
        )
        #expect(plain.files.isEmpty)
        #expect(!isRefused(workspace + "/app/bot.py", plain))
    }

    @Test("A script in the workspace is not to be overwritten, nor what lies beside it, nor its folder")
    func script() throws {
        let python = launcher("/usr/bin/python3", "-u", workspace + "/app/bot.py", "--config", "x")
        #expect(isRefused(workspace + "/app/bot.py", python))
        #expect(isRefused(workspace + "/app/helper.py", python))
        #expect(isRefused(workspace + "/app/new.py", python))
        #expect(isRefused(workspace + "/app", python))
        #expect(isRefused(workspace, python))
        #expect(!isRefused(workspace + "/notes.md", python))
        #expect(!isRefused(workspace + "/data/x", python))
        #expect(!isRefused(workspace + "/app2", python))
        let allowed = Policy(local: try PolicyRules(json: Array(#"{"workspace_code": true}"#.utf8)), file: nil)
        try allowed.checkWrite(workspace + "/app/bot.py", launcher: python)
    }

    @Test("The same script named relative to the bot's directory, with dots in its path, or behind an option's =")
    func otherSpellings() {
        #expect(isRefused(workspace + "/app/bot.py", launcher("/usr/bin/python3", "workspace/app/bot.py")))
        #expect(isRefused(workspace + "/app/bot.py", launcher("/usr/bin/env", "\(workspace)/data/../app/bot.py")))
        #expect(
            isRefused(workspace + "/app/bot.py", launcher(folder.path + "/opt/run", "--main=\(workspace)/app/bot.py"))
        )
        #expect(isRefused(workspace + "/app/bot.py", launcher(workspace + "/app/bot.py")))
    }

    @Test("A script that does not exist yet may not be put there")
    func notYet() {
        #expect(isRefused(workspace + "/later/bot.py", launcher("/usr/bin/python3", workspace + "/later/bot.py")))
        #expect(isRefused(workspace + "/later", launcher("/usr/bin/python3", workspace + "/later/bot.py")))
    }

    @Test("A launcher that is a symbolic link into the workspace is seen through")
    func linkIntoWorkspace() throws {
        let link = folder.path + "/opt/linked"
        #expect(symlink(workspace + "/app/bot.py", link) == 0)
        defer { unlink(link) }
        #expect(isRefused(workspace + "/app/bot.py", launcher(link)))
        #expect(isRefused(workspace + "/app/bot.py", launcher("/usr/bin/python3", link)))
    }

    @Test("A link in the workspace that is the launcher may not be replaced, although its target lies elsewhere")
    func linkInWorkspace() throws {
        let link = workspace + "/data/run"
        #expect(symlink(folder.path + "/opt/run", link) == 0)
        defer { unlink(link) }
        #expect(isRefused(link, launcher(link)))
    }

    @Test("Directories are compared behind their links and by whole components")
    func directories() throws {
        let allowed = folder.path + "/bots"
        let link = folder.path + "/bots/a/workspace/out"
        #expect(symlink("/etc", link) == 0)
        defer { unlink(link) }
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
