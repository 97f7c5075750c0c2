import Glibc
import Testing

@testable import EdgeAgent

@Suite("Runtime profiles in the configuration")
struct ProfileFileTests {
    private func read(_ json: String) throws -> [RuntimeProfile] {
        try ProfileFile.profiles(json.utf8, source: "test")
    }

    @Test("every key is taken")
    func everything() throws {
        let profiles = try read(
            """
            {"big": {
                "command": "/opt/bot/run '--config' {config}", "environment": {"KEY": "v=1", "EMPTY": ""}, "user": "bots",
                "limits": {"memory": "1.5G", "cpu": 0.5, "pids": 64, "open_files": 256},
                "restart": "on-failure", "stop": "INT 500ms, TERM 5s", "ready_timeout": "2m", "delivery": "stdin",
                "turn_limit": "15m",
                "liveness": {"interval": 10, "failures": 5, "restarts": true}, "engine": "e", "engine_version": "2",
                "log": {"segment_size": "4M", "segments": 3, "max_age": "30d"}},
             "quiet": {"command": ["/bin/cat", "a b"], "packets": false, "settle_time": "1s", "liveness": false,
                "turn_limit": false}}
            """
        )
        #expect(profiles.map(\.name) == ["big", "quiet"])
        let big = profiles[0]
        #expect(big.command.words == ["/opt/bot/run", "--config", "{config}"])
        #expect(big.environment == ["KEY": "v=1", "EMPTY": ""] && big.user == "bots")
        #expect(big.limits == ResourceLimits(memoryBytes: 1_610_612_736, cpuMilli: 500, pids: 64, openFiles: 256))
        #expect(big.restart == .onFailure && big.readyTimeout == .seconds(120) && big.delivery == .stdin)
        #expect(big.stop == StopSequence(steps: [.init(SIGINT, .milliseconds(500)), .init(SIGTERM, .seconds(5))]))
        #expect(big.liveness == LivenessCheck(interval: .seconds(10), failures: 5, restarts: true))
        #expect(big.turnLimit == .seconds(900))
        #expect(big.engine == "e" && big.engineVersion == "2")
        #expect(big.logLimits.segmentBytes == 4 << 20 && big.logLimits.segmentCount == 3)
        #expect(big.logLimits.maximumAgeSeconds == 30 * 86_400)
        let quiet = profiles[1]
        #expect(quiet.command.words == ["/bin/cat", "a b"] && !quiet.speaksPackets && quiet.liveness == nil)
        #expect(quiet.turnLimit == .zero, "no limit")
        #expect(quiet.settleTime == .seconds(1) && quiet.delivery == .http)
    }

    @Test(
        "a mistake names profile and key",
        arguments: [
            ("{\n\"default\": {\"command\": \"a\"},\n\"default\": {}}", ["line 3", "default", "twice"]),
            ("[]", ["JSON object"]), ("{", ["not JSON"]), (#"{"a b": {}}"#, ["a b", "name"]),
            (#"{"x": 1}"#, ["x", "object"]), (#"{"x": {}}"#, ["x", "command", "missing"]),
            (#"{"x": {"command": "echo 'a"}}"#, ["x", "command", "quote"]),
            (#"{"x": {"command": []}}"#, ["command", "empty"]),
            (#"{"x": {"command": "a", "memory": 1}}"#, ["unknown key", "memory", "limits"]),
            (#"{"x": {"command": "a", "limits": {"memry": 1}}}"#, ["limits.memry", "memory"]),
            (#"{"x": {"command": "a", "limits": {"cpu": "all"}}}"#, ["limits.cpu", "cores"]),
            (#"{"x": {"command": "a", "limits": {"memory": "1X"}}}"#, ["limits.memory", "512M"]),
            (#"{"x": {"command": "a", "ready_timeout": "soon"}}"#, ["ready_timeout", "10s"]),
            (#"{"x": {"command": "a", "ready_timeout": -1}}"#, ["ready_timeout"]),
            (#"{"x": {"command": "a", "turn_limit": 0}}"#, ["turn_limit", "false"]),
            (#"{"x": {"command": "a", "turn_limit": true}}"#, ["turn_limit", "10s"]),
            (#"{"x": {"command": "a", "restart": "maybe"}}"#, ["restart", "on-failure"]),
            (#"{"x": {"command": "a", "delivery": "pigeon"}}"#, ["delivery", "stdin"]),
            (#"{"x": {"command": "a", "stop": "KILL 9"}}"#, ["stop"]),
            (#"{"x": {"command": "a", "environment": {"BOT_ID": "me"}}}"#, ["BOT_ID"]),
            (#"{"x": {"command": "a", "environment": {"A": 1}}}"#, ["environment.A", "text"]),
            (#"{"x": {"command": "a", "packets": false, "ready_timeout": 1}}"#, ["ready_timeout", "settle_time"]),
            (#"{"x": {"command": "a", "log": {"segment_size": 10}}}"#, ["log.segment_size", "2M"]),
            (#"{"x": {"command": "a", "log": {"max_age": "0d"}}}"#, ["log.max_age", "30d"]),
            (#"{"x": {"command": "a", "log": {"max_age": 86400}}}"#, ["log.max_age", "30d"]),
            (#"{"x": {"command": "a", "isolation": "off"}}"#, ["isolation", "object"]),
            (#"{"x": {"command": "a", "isolation": {"reads": []}}}"#, ["isolation.reads", "read, write"]),
            (#"{"x": {"command": "a", "isolation": {"read": ["/a/../b"]}}}"#, ["isolation.read", "absolute"]),
            (#"{"x": {"command": "a", "isolation": {"write": ["/"]}}}"#, ["isolation.write", "absolute"]),
            (#"{"x": {"backend": "docker", "image": "a", "isolation": false}}"#, ["isolation", "native"]),
        ]
    )
    func mistakes(json: String, parts: [String]) {
        do {
            _ = try read(json)
            Issue.record("taken: \(json)")
        } catch {
            let text = "\(error)"
            for part in parts { #expect(text.contains(part), "\(text)") }
        }
    }

    @Test("isolation is on, off, or opened by what is named")
    func isolation() throws {
        func isolation(_ value: String) throws -> BotIsolation? {
            try read(#"{"x": {"command": "a", "isolation": \#(value)}}"#).first?.isolation
        }
        #expect(try read(#"{"x": {"command": "a"}}"#).first?.isolation == BotIsolation())
        #expect(try isolation("true") == BotIsolation() && isolation("false") == .off)
        #expect(
            try isolation(#"{"read": ["/srv/a b"], "write": ["/dev/shm"], "unix_sockets": true}"#)
                == BotIsolation(readable: ["/srv/a b"], writable: ["/dev/shm"], opensUnixSockets: true)
        )
    }

    @Test("stand in the configuration file as an object, or in a file of their own that a flag or a variable names")
    func sources() throws {
        var template = Array("/tmp/edge-agent-profiles-XXXXXX".utf8CString)
        let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer {
            for name in ["agent.json", "profiles.json"] { unlink("\(folder)/\(name)") }
            rmdir(folder)
        }
        let file = "\(folder)/agent.json"
        let text = #"{"profiles": {"a": {"command": "x", "limits": {"pids": 5}}}, "launcher_roots": ["/a", "/b"]}"#
        try Files.replace(file, with: Array(text.utf8), mode: 0o600)
        let inside = try AgentConfiguration(flags: [:], file: file, environment: [:])
        #expect(inside.profiles.map(\.name) == ["a"] && inside.profiles.first?.limits.pids == 5)
        #expect(inside.launcherRoots == ["/a", "/b"])
        try Files.replace(file, with: Array("{}".utf8), mode: 0o600)
        let own = "\(folder)/profiles.json"
        try Files.replace(own, with: Array(#"{"b": {"command": "x"}}"#.utf8), mode: 0o600)
        let named = try AgentConfiguration(flags: [:], file: file, environment: ["EDGE_PROFILES": own])
        #expect(named.profiles.map(\.name) == ["b"])
        let inline = #" {"c": {"command": "x"}}"#
        let given = try AgentConfiguration(flags: [.profiles: inline], file: file, environment: ["EDGE_PROFILES": own])
        #expect(given.profiles.map(\.name) == ["c"])
        #expect(throws: AgentError.self) {
            _ = try AgentConfiguration(flags: [.profiles: "/nonexistent"], file: file, environment: [:])
        }
        try Files.replace(file, with: Array(#"{"hub_url": {"a": 1}}"#.utf8), mode: 0o600)
        #expect(throws: AgentError.self) { _ = try AgentConfiguration(flags: [:], file: file, environment: [:]) }
    }
}
