import Foundation
import Glibc
import Testing

@Suite("Whatever goes wrong gives one clear line, and leaves state intact", .serialized)
struct FailureTests {
    /// The line and how the program ended.
    private struct Complaint {
        let status: Int32
        let lines: [String]

        init(_ result: (status: Int32, text: String)) {
            status = result.status
            lines = result.text.split(separator: "\n").map(String.init)
        }

        func names(_ parts: String...) -> Bool {
            lines.count == 1 && parts.allSatisfy { lines[0].localizedCaseInsensitiveContains($0) }
        }
    }

    private func enroll(_ bench: Workbench, _ url: String, code: String, authority: String?) async throws -> Complaint {
        let ca = authority.map { ["--ca-file", $0] } ?? []
        return Complaint(
            try await run(
                "edge-agent",
                ["enroll", "--hub", url, "--code", code, "--state-dir", bench.folder.path + "/agent"] + ca,
                in: bench.folder
            )
        )
    }

    private func hasIdentity(_ bench: Workbench) -> Bool {
        FileManager.default.fileExists(atPath: bench.folder.path + "/agent/identity.json")
    }

    @Test("a wrong, a used and an expired code are told apart")
    func codes() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()

        let wrong = try await enroll(bench, hub.url, code: "AAAA-BBBB-CCCC", authority: hub.authority)
        #expect(wrong.status != 0 && wrong.names("code", "not"), "\(wrong)")
        #expect(!hasIdentity(bench))

        let used = try await hub.enrollmentCode()
        try await Story.pair(bench, hub, state: "other")
        try await Story.pairWith(used, bench, hub, state: "first")
        let again = try await enroll(bench, hub.url, code: used, authority: hub.authority)
        #expect(again.status != 0 && again.names("already been used"), "\(again)")

        let short = try await hub.enrollmentCode(["--ttl", "1s"])
        try await eventually("the code expires") {
            try await api.get("/api/enrollments").items.contains { $0["state"] == "expired" } ? () : nil
        }
        let late = try await enroll(bench, hub.url, code: short, authority: hub.authority)
        #expect(late.status != 0 && late.names("expired"), "\(late)")
        #expect(!hasIdentity(bench))

        let good = try await hub.enrollmentCode()
        let paired = try await enroll(bench, hub.url, code: good, authority: hub.authority)
        #expect(paired.status == 0, "\(paired)")
        #expect(hasIdentity(bench))
    }

    @Test("a wrong authority, a wrong host name and an absent hub are told apart")
    func connections() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let code = try await hub.enrollmentCode()

        let unknown = try await enroll(bench, hub.url, code: code, authority: nil)
        #expect(unknown.status != 0 && unknown.names("certificate", "--ca-file"), "\(unknown)")

        let otherBench = try Workbench()
        let otherHub = try await otherBench.startHub()
        let wrong = try await enroll(bench, hub.url, code: code, authority: otherHub.authority)
        #expect(wrong.status != 0 && wrong.names("certificate", "--ca-file"), "\(wrong)")

        let elsewhere = try Program(
            "control-hub",
            ["serve", "--listen", "127.0.0.2:0", "--data-dir", bench.folder.path + "/elsewhere"],
            in: bench.folder
        )
        let address = try await eventually("the second hub listens", or: { elsewhere.text }) {
            try? String(contentsOfFile: bench.folder.path + "/elsewhere/hub.address", encoding: .utf8)
        }.trimmingCharacters(in: .whitespacesAndNewlines)
        let misnamed = try await enroll(
            bench,
            "https://\(address)",
            code: code,
            authority: bench.folder.path + "/elsewhere/tls/ca.pem"
        )
        #expect(misnamed.status != 0 && misnamed.names("certificate", "127.0.0.2"), "\(misnamed)")

        hub.program.kill()
        let absent = try await enroll(bench, hub.url, code: code, authority: hub.authority)
        #expect(absent.status != 0 && absent.names("refused", hub.address), "\(absent)")
        #expect(!hasIdentity(bench))
    }

    @Test("a wrong token is said once, with what to do, and the agent stays to keep its bots")
    func wrongToken() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let agent = try Program(
            "edge-agent",
            ["run", "--hub", hub.url, "--ca-file", hub.authority, "--state-dir", bench.folder.path + "/agent"],
            environment: ["EDGE_TOKEN": "nt_this-is-not-a-token"],
            in: bench.folder
        )
        let line = try await eventually("the agent says so", or: { agent.text }) {
            agent.text.split(separator: "\n").first { $0.contains("token") && $0.contains("enroll") }
        }
        #expect(!line.contains("nt_this"))
        #expect(kill(agent.pid, 0) == 0)
        agent.signal(SIGTERM)
        #expect(try await agent.exit() == 0)
    }

    @Test("a revoked node is told so, over the live link")
    func revoked() async throws {
        let story = try await Story()
        _ = try await story.api.post("/api/nodes/\(story.node)/revoke")
        try await eventually("the agent says so", or: { story.agent.text }) {
            story.agent.text.contains("revoked") ? () : nil
        }
        let pid = try await story.pid()
        #expect(kill(pid_t(pid), 0) == 0, "the bot must run on")
    }

    @Test("a data directory that cannot be written")
    func notWritable() async throws {
        let bench = try Workbench()
        let disk = try TinyDisk(in: bench.folder, options: "ro")
        for (program, arguments) in [
            ("control-hub", ["serve", "--listen", "127.0.0.1:0", "--data-dir", disk.mountPoint.path + "/hub"]),
            ("edge-agent", ["run", "--hub", "https://127.0.0.1:1", "--state-dir", disk.mountPoint.path + "/agent"]),
        ] {
            let started = try disk.start(program, arguments, environment: ["EDGE_TOKEN": "nt_x"])
            let complaint = Complaint((try await started.exit(), started.text))
            #expect(complaint.status != 0 && complaint.names("director", disk.mountPoint.path), "\(complaint)")
        }
    }

    @Test("a port that is taken, and a data directory that is in use")
    func taken() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let port = Complaint(
            try await run(
                "control-hub",
                ["serve", "--listen", hub.address, "--data-dir", bench.folder.path + "/second"],
                in: bench.folder
            )
        )
        #expect(port.status != 0 && port.names(hub.address, "in use"), "\(port)")
        let directory = Complaint(
            try await run(
                "control-hub",
                ["serve", "--listen", "127.0.0.1:0", "--data-dir", bench.hubData.path],
                in: bench.folder
            )
        )
        #expect(
            directory.status != 0 && directory.names(bench.hubData.path, "already serves", "--data-dir"),
            "\(directory)"
        )
        try await hub.waitUntilReady()
    }

    @Test("a full disk at the start is one line; while running it costs writes, not reads, and heals")
    func diskFull() async throws {
        let bench = try Workbench()
        let tiny = try TinyDisk(in: bench.folder, options: "size=16k")
        let stillborn = try tiny.start(
            "control-hub",
            ["serve", "--listen", "127.0.0.1:0", "--data-dir", tiny.mountPoint.path + "/hub"]
        )
        let complaint = Complaint((try await stillborn.exit(), stillborn.text))
        #expect(complaint.status != 0 && complaint.names("space"), "\(complaint)")

        let disk = try TinyDisk(in: bench.folder, options: "size=8m")
        let program = try disk.start(
            "control-hub",
            ["serve", "--listen", "127.0.0.1:0", "--data-dir", disk.mountPoint.path + "/hub"]
        )
        let address = try await eventually("the hub listens", or: { program.text }) {
            try? String(contentsOf: disk.seenFromOutside(program).appending(path: "hub/hub.address"), encoding: .utf8)
        }.trimmingCharacters(in: .whitespacesAndNewlines)
        let hub = Hub(
            program: program,
            address: address,
            data: disk.seenFromOutside(program).appending(path: "hub"),
            folder: bench.folder
        )
        try await hub.waitUntilReady()
        let added = try disk.enter(
            program,
            "control-hub",
            ["operator", "add", "e2e", "--role", "admin", "--json", "--data-dir", disk.mountPoint.path + "/hub"]
        )
        #expect(try await added.exit() == 0)
        let api = try API(hub: hub, token: try JSON(parsing: added.text)["token"].string)
        let filler = try disk.fill(program)
        let refused = try await eventually("a write is refused", or: { program.text }) {
            let answer = try await api.send("POST", "/api/enrollments")
            return answer.status >= 500 ? answer : nil
        }
        #expect(refused.json["code"] == "storage_full", "\(refused)")
        #expect(try await api.get("/api/nodes").items.isEmpty)
        try FileManager.default.removeItem(at: filler)
        try await eventually("writing works again", or: { program.text }) {
            try await api.send("POST", "/api/enrollments").status == 201 ? () : nil
        }
    }
}
