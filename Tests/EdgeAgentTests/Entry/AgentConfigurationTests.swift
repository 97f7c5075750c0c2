import Foundation
import Testing
import WebSocketKitLite

@testable import EdgeAgent

@Suite("Where settings come from")
struct AgentConfigurationTests {
    private func file(_ content: String) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "agent-\(UUID().uuidString).json").path
        try Data(content.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    private func message(_ body: () throws -> AgentConfiguration) -> String {
        do {
            _ = try body()
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test("a flag wins over the environment, and that over the file")
    func precedence() throws {
        let path = try file(
            #"{"hub_url": "https://file", "ca_file": "/file.pem", "insecure": true, "log_level": "debug"}"#
        )
        let configuration = try AgentConfiguration(
            flags: [.hubURL: "https://flag"],
            file: path,
            environment: ["EDGE_HUB_URL": "https://environment", "EDGE_LOG_LEVEL": "trace", "HUB_URL": "https://other"]
        )
        #expect(configuration.hubURL == "https://flag")
        #expect(configuration.logLevel == "trace")
        #expect(configuration.authorityFile == "/file.pem")
        #expect(configuration.insecure)
    }

    @Test("a comment in the file is told as one, with its line")
    func comment() throws {
        let path = try file("{\n// where the hub is\n\"hub_url\": \"https://file\"}")
        let text = message { try AgentConfiguration(flags: [:], file: path, environment: [:]) }
        #expect(text.contains("line 2") && text.contains("no comments") && text.contains(path), "\(text)")
    }

    @Test("an unknown key, a missing file and a file that is no object are each named")
    func badFiles() throws {
        let unknown = try file(#"{"hub": "https://x"}"#)
        #expect(message { try AgentConfiguration(flags: [:], file: unknown, environment: [:]) }.contains("\"hub\""))
        let broken = try file("hub_url: https://x")
        #expect(message { try AgentConfiguration(flags: [:], file: broken, environment: [:]) }.contains(broken))
        #expect(
            message { try AgentConfiguration(flags: [:], file: "/none.json", environment: [:]) }.contains("/none.json")
        )
        let flag = message { try AgentConfiguration(flags: [:], file: nil, environment: ["EDGE_INSECURE": "maybe"]) }
        #expect(flag.contains("maybe"))
    }

    @Test("a proxy comes from its own setting, else from the usual variables, and its password never shows")
    func proxy() throws {
        func settings(_ environment: [String: String]) throws -> AgentConfiguration {
            try AgentConfiguration(flags: [:], file: nil, environment: environment)
        }
        let hub = try Endpoint("wss://hub.example")
        let usual = ["HTTPS_PROXY": "http://ada:hunter2@usual:3128"]
        let own = usual.merging(["EDGE_PROXY": "socks5://ada:hunter2@own"]) { $1 }
        let none = usual.merging(["EDGE_PROXY": "none"]) { $1 }
        for (environment, host) in [(usual, "usual"), (own, "own"), (none, nil), ([:], nil)]
            as [([String: String], String?)]
        {
            let configuration = try settings(environment)
            #expect(try configuration.proxy.choice(for: hub).proxy?.host == host)
            #expect(!"\(configuration)".contains("hunter2"))
        }
        let wrong = message { try settings(["EDGE_PROXY": "https://ada:hunter2@own"]) }
        #expect(wrong.contains("speaks TLS") && !wrong.contains("hunter2"))
    }

    @Test("a token comes from a file without its newline, and never shows")
    func tokenFile() throws {
        let path = try file("nt_secret\n")
        let configuration = try AgentConfiguration(flags: [.tokenFile: path], file: nil, environment: [:])
        #expect(configuration.token?.reveal() == "nt_secret")
        #expect(!"\(configuration)".contains("nt_secret"))
        let empty = try file("\n")
        #expect(
            message { try AgentConfiguration(flags: [.tokenFile: empty], file: nil, environment: [:]) }.contains(
                "empty"
            )
        )
    }

    @Test("the state directory is systemd's where there is one")
    func stateDirectory() throws {
        let given = try AgentConfiguration(flags: [:], file: nil, environment: ["STATE_DIRECTORY": "/var/lib/x"])
        #expect(given.stateDirectory == "/var/lib/x")
        let flag = try AgentConfiguration(
            flags: [.stateDirectory: "/y"],
            file: nil,
            environment: ["STATE_DIRECTORY": "/x"]
        )
        #expect(flag.stateDirectory == "/y")
    }
}
