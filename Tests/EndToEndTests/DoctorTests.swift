import Foundation
import Testing

/// The doctor with real hubs, beside running agents, and where something is wrong.
@Suite("The doctor")
struct DoctorTests {
    private struct Visit {
        let status: Int32
        let text: String
        let checks: [String: JSON]

        /// The name of the check that failed.
        var failed: String? { checks.first { $0.value["status"] == "FAIL" }?.key }

        func detail(_ name: String) -> String { checks[name]?["detail"].string ?? "" }
    }

    private func visit(
        _ bench: Workbench,
        _ arguments: [String],
        environment: [String: String] = [:]
    ) async throws -> Visit {
        let answer = try await run(
            "edge-agent",
            ["doctor", "--json"] + arguments,
            environment: environment,
            in: bench.folder
        )
        let checks = try JSON(parsing: answer.text)["checks"].array.map { ($0["name"].string ?? "", $0) }
        return Visit(status: answer.status, text: answer.text, checks: Dictionary(uniqueKeysWithValues: checks))
    }

    @Test("finds everything well beside a running agent, and leaves its session alone")
    func healthy() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let agent = try bench.startAgent()
        let node = try await Story.onlineNode(api, agent)
        let state = ["--state-dir", bench.folder.appending(path: "agent").path]
        for _ in 0..<3 {
            let visit = try await visit(bench, state)
            #expect(visit.status == 0 && visit.failed == nil, "\(visit.text)")
            #expect(visit.detail("token").contains(node), "\(visit.text)")
            #expect(visit.detail("tls").contains("TLSv1.3"), "\(visit.text)")
        }
        let after = try await api.get("/api/nodes/\(node)")
        #expect(after["session_epoch"] == 1 && after["health"] == "online", "\(after)")

        let lines = try await run("edge-agent", ["doctor"] + state, in: bench.folder)
        #expect(lines.status == 0)
        let names = lines.text.split(separator: "\n").map { $0.prefix { $0 != " " } }
        #expect(
            names
                == [
                    "isolation", "profiles", "settings", "policy", "dns", "tcp", "proxy", "tls", "http", "token", "hub",
                    "clock",
                ],
            "\(lines.text)"
        )

        _ = try await api.post("/api/nodes/\(node)/revoke")
        let revoked = try await visit(bench, state)
        #expect(revoked.status == 1 && revoked.failed == "token", "\(revoked.text)")
        #expect(revoked.detail("token").contains("revoked"))
    }

    @Test("says which runtime profiles can be used, and why others cannot")
    func profiles() async throws {
        let bench = try Workbench()
        let state = ["--state-dir", bench.folder.appending(path: "none").path]
        let profiles = #"{"good": {"command": "/bin/sh -c true"}, "gone": {"command": "/no/such/program"}}"#
        let visit = try await visit(bench, state, environment: ["EDGE_PROFILES": profiles])
        #expect(visit.status == 1 && visit.checks["profiles"]?["status"] == "FAIL", "\(visit.text)")
        let detail = visit.detail("profiles")
        #expect(detail.contains("good can be used (native: /bin/sh"), "\(detail)")
        #expect(detail.contains("gone cannot be used: ") && detail.contains("/no/such/program"), "\(detail)")
        #expect(!FileManager.default.fileExists(atPath: state[1]), "nothing is made by looking")
        // One that is only looked for need not be there.
        let searched = try await self.visit(bench, state, environment: ["EDGE_LAUNCHER_ROOTS": "/no/such/root"])
        #expect(searched.checks["profiles"]?["status"] == "ok", "\(searched.text)")
        #expect(searched.detail("profiles").hasPrefix("default "), "\(searched.text)")
    }

    @Test("says which step is wrong, and what to do")
    func failures() async throws {
        let bench = try Workbench()
        let state = ["--state-dir", bench.folder.appending(path: "none").path]
        let unpaired = try await visit(bench, state)
        #expect(unpaired.status == 1 && unpaired.failed == "settings", "\(unpaired.text)")
        #expect(unpaired.detail("settings").contains("edge-agent enroll"))
        #expect(!FileManager.default.fileExists(atPath: state[1]))

        let hub = try await bench.startHub()
        let trust = ["--ca-file", hub.authority]
        let unknown = try await visit(bench, state + ["--hub", hub.url, "--token", "edge_hunter2"] + trust)
        #expect(unknown.failed == "token" && !unknown.text.contains("hunter2"), "\(unknown.text)")
        let noToken = try await visit(bench, state + ["--hub", hub.url] + trust)
        #expect(noToken.failed == "token" && noToken.checks["hub"]?["status"] == "ok", "\(noToken.text)")

        let noTrust = try await visit(bench, state + ["--hub", hub.url])
        #expect(noTrust.failed == "tls" && noTrust.detail("tls").contains("--ca-file"), "\(noTrust.text)")
        #expect(noTrust.checks["tcp"]?["status"] == "ok" && noTrust.checks["http"]?["status"] == "skipped")

        let proxy = ["--proxy", "http://ada:hunter2@127.0.0.1:1"]
        let noProxy = try await visit(bench, state + ["--hub", hub.url] + trust + proxy)
        #expect(
            noProxy.failed == "tcp" && noProxy.detail("tcp").contains("the proxy http://127.0.0.1:1"),
            "\(noProxy.text)"
        )
        #expect(!noProxy.text.contains("hunter2"))

        hub.program.kill()
        let gone = try await visit(bench, state + ["--hub", hub.url] + trust)
        #expect(gone.failed == "tcp" && gone.detail("tcp").contains("refused"), "\(gone.text)")
    }

    @Test("takes the proxy of the environment, except to this machine; --proxy none takes none")
    func environment() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let state = ["--state-dir", bench.folder.appending(path: "none").path, "--ca-file", hub.authority]
        // Nothing listens on port 1, so the proxy shows by failing.
        let variables = ["HTTPS_PROXY": "http://ada:hunter2@127.0.0.1:1"]
        let here = try await visit(bench, state + ["--hub", hub.url], environment: variables)
        #expect(here.failed == "token" && here.detail("proxy").contains("is this machine"), "\(here.text)")
        let elsewhere = try await visit(bench, state + ["--hub", "https://192.0.2.1"], environment: variables)
        #expect(
            elsewhere.failed == "tcp" && elsewhere.detail("tcp").contains("http://127.0.0.1:1"),
            "\(elsewhere.text)"
        )
        #expect(!elsewhere.text.contains("hunter2"))
        let invalid = try await visit(
            bench,
            state + ["--hub", "https://192.0.2.1"],
            environment: ["HTTPS_PROXY": "https://127.0.0.1:1"]
        )
        #expect(invalid.failed == "proxy" && invalid.detail("proxy").hasPrefix("HTTPS_PROXY: "), "\(invalid.text)")
        let none = try await visit(
            bench,
            state + ["--hub", "https://no-such-host.invalid", "--proxy", "none"],
            environment: variables
        )
        #expect(none.failed == "dns" && none.detail("dns").contains("no-such-host.invalid"), "\(none.text)")
    }
}
