import Foundation
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Links in workspaces that move.
extension SyncTests {
    private func text(_ path: String) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: path)
    }

    private func guarded(_ rules: String) throws -> WorkspaceGuard {
        let rules = try PolicyRules(json: Array(rules.utf8))
        return WorkspaceGuard(
            PolicyRegistry(Policy(local: rules, file: "/etc/edge-agent/policy.json")),
            botsDirectory: "/nonexistent",
            profiles: []
        )
    }

    private func refusal(_ source: TestWorkspace, _ target: TestWorkspace, _ rules: String, preview: Bool) async throws
        -> TestRelay.Failed?
    {
        do {
            _ = try await joined(source, target, rules: try guarded(rules)) {
                try await TestRelay.run(from: $0, to: $1, preview: preview)
            }
            return nil
        } catch let failure as TestRelay.Failed {
            return failure
        }
    }

    @Test("Every link comes along, there and back: absolute ones to the workspace as relative ones, others as they are")
    func links() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("data/notes", "1")
        try source.put("venv/bin/activate", "2")
        let carried = [
            "in": "data/notes", "venv/bin/python3": "/usr/bin/python3", "venv/bin/python": "python3",
            "around": "data/../venv", "venv/up": "../data/../venv/bin", "gone": "nothing/here", "up": "../../..",
            "venv/lib64": "lib",
        ]
        for (path, text) in carried { symlink(text, source.root + "/" + path) }
        symlink(source.root + "/data/notes", source.root + "/venv/own")
        symlink(source.root, source.root + "/venv/root")
        let real = try #require(RealPath.of(source.root))
        symlink(real + "/venv", source.root + "/real")
        let report = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1) }
        #expect(report.skippedCount == 0)
        #expect(await install(target, report).outcome == .done)
        let expected = carried.merging(["venv/own": "../data/notes", "venv/root": "..", "real": "venv"]) { $1 }
        for (path, wanted) in expected { #expect(text(target.root + "/" + path) == wanted, "\(path)") }
        #expect(target.text("venv/own") == "1")
        // And back, to a node that never had it.
        let home = try TestWorkspace()
        let again = try await joined(target, home) { try await TestRelay.run(from: $0, to: $1) }
        #expect(await install(home, again).outcome == .done)
        for (path, wanted) in expected { #expect(text(home.root + "/" + path) == wanted, "\(path)") }
    }

    @Test("A link out is the target's owner's to allow, and refused it is named before anything is written")
    func policy() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        symlink("/usr/bin/python3", source.root + "/python3")
        #expect(try await refusal(source, target, "{}", preview: true) == nil, "programs of the system are")
        symlink("/home/somebody/.bashrc", source.root + "/memory.json")
        for preview in [true, false] {
            let refused = try #require(try await refusal(source, target, "{}", preview: preview))
            #expect(refused.code == "refused")
            #expect(refused.message.contains("memory.json to /home/somebody/.bashrc"), "\(refused.message)")
            #expect(refused.message.contains(#""workspace_links": "any" in /etc/edge-agent/policy.json"#))
        }
        #expect(!FileManager.default.fileExists(atPath: tree(target).root + "/a"))
        #expect(try await refusal(source, target, #"{"workspace_links": "any"}"#, preview: false) == nil)
        let closed = try await refusal(source, target, #"{"workspace_links": "inside"}"#, preview: true)
        #expect(closed?.code == "refused")
    }

    @Test(
        "What only looks like the system is not",
        arguments: [
            ["l": "/usr/../home/x"], ["l": "/usr/./../home/x"], ["a": "/usr/lib", "l": "a/../../home/x"], ["l": "../x"],
            ["l": "/usrx/y"], ["l": "//home/x"], ["l": "/proc/self/root/home"], ["l": "/"],
            ["a": "d", "l": "a/../../x"],
        ]
    )
    func lookAlikes(links: [String: String]) async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("d/file", "1")
        for (path, text) in links { symlink(text, source.root + "/" + path) }
        let refused = try await refusal(source, target, "{}", preview: true)
        #expect(refused?.code == "refused", "\(links)")
        #expect(refused?.message.contains("symbolic link l to") == true, "\(refused?.message ?? "")")
    }

    @Test("Where hub or target are too old for links out, the source names them instead of leaving them out")
    func tooOld() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        try source.put("a", "1")
        symlink("a", source.root + "/in")
        symlink(source.root + "/a", source.root + "/own")
        let fine = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1, takesLinks: false) }
        #expect(fine.entries == 3)
        symlink("/usr/bin/python3", source.root + "/python3")
        do {
            _ = try await joined(source, target) { try await TestRelay.run(from: $0, to: $1, takesLinks: false) }
            Issue.record("no failure")
        } catch let failure as TestRelay.Failed {
            #expect(failure.code == "unsupported", "\(failure)")
            #expect(failure.message.contains("python3 to /usr/bin/python3"), "\(failure)")
        }
    }

    @Test("Nothing of the agent follows a link that came along and leads out")
    func notFollowed() async throws {
        let (source, target) = (try TestWorkspace(), try TestWorkspace())
        let outside = target.bots + "/outside"
        try FileManager.default.createDirectory(atPath: outside, withIntermediateDirectories: true)
        try Data("secret".utf8).write(to: URL(filePath: outside + "/key"))
        try source.put("a", "1")
        symlink(outside, source.root + "/folder")
        symlink(outside + "/key", source.root + "/file")
        let report = try await joined(source, target) { from, to in
            let first = try await TestRelay.run(from: from, to: to)
            // Again, with the links in the staging tree, one of which becomes a file and the other a directory.
            unlink(source.root + "/file")
            unlink(source.root + "/folder")
            try source.put("file", "mine")
            try source.put("folder/key", "mine")
            let second = try await TestRelay.run(from: from, to: to)
            #expect(first.unstable == 0 && second.unstable == 0)
            return second
        }
        #expect(await install(target, report).outcome == .done)
        #expect(target.text("file") == "mine" && target.text("folder/key") == "mine")
        #expect(try String(contentsOfFile: outside + "/key", encoding: .utf8) == "secret")
        // And with them in the workspace: neither read nor written through nor removed.
        unlink(target.root + "/file")
        symlink(outside + "/key", target.root + "/file")
        let files = target.files()
        let path = try #require(WorkspacePath("file".utf8))
        #expect(throws: WorkspaceFailure.self) { _ = try files.open("bot", path) }
        _ = try files.remove("bot", path, WireRemoveEntry(), EntryCondition())
        #expect(try String(contentsOfFile: outside + "/key", encoding: .utf8) == "secret")
    }
}
