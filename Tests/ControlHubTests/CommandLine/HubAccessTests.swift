import ArgumentParser
import Foundation
import Testing

@testable import ControlHub

@Suite("Which hub a command means")
struct HubAccessTests {
    private func place(_ arguments: [String], _ environment: [String: String] = [:]) throws -> String {
        switch try HubAccess.parse(arguments).remote(environment) {
        case nil, .local?: "here"
        case .remote(let url, let token, let trust): "\(url) \(token) \(trust.caFile ?? "-") \(trust.pinSHA256 ?? "-")"
        }
    }

    @Test("is the one here unless a URL is given; flags win over variables, and --data-dir is one")
    func precedence() throws {
        let environment = [
            "HUB_URL": "https://other", "HUB_TOKEN": "op_e", "HUB_CA_FILE": "/ca", "HUB_PIN_SHA256": "ab",
        ]
        #expect(try place([]) == "here")
        #expect(try place([], ["HUB_URL": "", "HUB_TOKEN": "op_e"]) == "here")
        #expect(try place([], environment) == "https://other op_e /ca ab")
        #expect(try place(["--data-dir", "/x"], environment) == "here")
        #expect(
            try place(
                ["--url", "https://one", "--token", "op_f", "--ca-file", "/b", "--pin-sha256", "cd"],
                environment
            )
                == "https://one op_f /b cd"
        )
    }

    @Test("is the one that stands in the line, also when a shell asks for names to offer")
    func suggestions() throws {
        let line = ["control-hub", "nodes", "show", "--url", "https://one", "--insecure", "--token-file", "/t", "ki"]
        let access = try Suggestions.access(line)
        #expect(
            access.url == "https://one" && access.tokenFile == "/t" && access.insecure && access.common.dataDir == nil
        )
        #expect(try Suggestions.access(["control-hub", "logs", "--data-dir", "/x", ""]).common.dataDir == "/x")
        #expect(try Suggestions.access(["control-hub", "logs", "--url"]).url == nil)
    }

    @Test(
        "is asked for anew where the answer is not clear",
        arguments: [
            ["--token", "op_f"], ["--url", "ftp://one", "--token", "t"], ["--url", "hub.example", "--token", "t"],
            ["--url", "https://one"], ["--url", "https://one", "--data-dir", "/x", "--token", "t"],
        ]
    )
    func unclear(arguments: [String]) throws {
        let failure = #expect(throws: StartFailure.self) { try place(arguments) }
        #expect(failure?.code == .usage)
    }

    @Test("a token's file is read without the line's end; one that cannot be read, or holds none, is named")
    func tokenFile() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "token-\(UInt64.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // Left behind, it would only cost space.
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "token").path
        try Data("op_x\n".utf8).write(to: URL(fileURLWithPath: file))
        #expect(try place(["--url", "https://one", "--token-file", file]) == "https://one op_x - -")
        #expect(try place([], ["HUB_URL": "https://one", "HUB_TOKEN_FILE": file]) == "https://one op_x - -")
        try Data("two words\n".utf8).write(to: URL(fileURLWithPath: file))
        let words = #expect(throws: StartFailure.self) { try place(["--url", "https://one", "--token-file", file]) }
        #expect(words?.code == .dataError && words?.message.contains(file) == true)
        #expect(words?.message.contains("two words") == false)
        let missing = #expect(throws: StartFailure.self) {
            try place(["--url", "https://one", "--token-file", file + "x"])
        }
        #expect(missing?.code == .noInput)
    }

    @Test(
        "a hub that listens on all addresses is reached on the loopback one",
        arguments: [
            ("0.0.0.0", "https://127.0.0.1:8443"), ("::", "https://[::1]:8443"), ("10.0.0.1", "https://10.0.0.1:8443"),
            ("fd00::1", "https://[fd00::1]:8443"),
        ]
    )
    func local(host: String, url: String) {
        #expect(LocalHub(listeningOn: host, port: 8443, token: "t", pin: "ab").url == url)
        #expect(LocalHub(listeningOn: host, port: 1, token: "t", pin: nil).url.hasPrefix("http://"))
    }

    @Test("paths keep nothing of a name that could mean something in them")
    func paths() {
        #expect(HubClient.escaped("a/b?c=d&e#f %.~-_ü") == "a%2Fb%3Fc%3Dd%26e%23f%20%25.~-_%C3%BC")
        #expect(HubClient.path("/x", query: ["a": nil, "b": "1 2", "c": ""]) == "/x?b=1%202&c=")
    }
}

@Suite("The hub on this machine", .timeLimit(.minutes(1)))
struct LocalHubTests {
    @Test("lets in who can read its directory, as long as it runs, as the command line")
    func token() async throws {
        try await RunningHub.run { hub in
            let directory = hub.directory.path
            let found = try LocalHub.read(from: directory)
            let mode = try FileManager.default.attributesOfItem(atPath: directory + "/hub.local")[.posixPermissions]
            #expect(mode as? Int == 0o600)
            let client = try HubClient(.local(directory: directory))
            defer { client.close() }
            let made = try await client.post("/api/nodes", ["name": .string("attic")])
            #expect(made["name"] == .string("attic"))
            let entry = try await client.get("/api/audit?limit=1")["items"]?.arrayValue?.first
            #expect(entry?["actor"] == .string("command-line"), "\(String(describing: entry))")
            // It makes no operator: who is the last administrator stays as it was.
            #expect(try await hub.parts.operators.list().map(\.name) == ["admin"])
            let wrong = try HubClient(.remote(url: found.url, token: found.token + "x", HubClient.Trust()))
            defer { wrong.close() }
            do {
                _ = try await wrong.get("/api/nodes")
                Issue.record("a wrong token was accepted")
            } catch let failure as StartFailure {
                #expect(failure.code == .noPermission)
            }
            hub.stop()
        }
    }

    @Test("that does not run is told, and where")
    func none() throws {
        let failure = #expect(throws: StartFailure.self) { try LocalHub.read(from: "/nowhere") }
        #expect(failure?.code == .unavailable && failure?.message.contains("/nowhere") == true)
    }
}
