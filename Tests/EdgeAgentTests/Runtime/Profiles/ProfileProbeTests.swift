import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

@Suite("A probe tells before the first start why a profile cannot be used", .serialized)
struct ProfileProbeTests {
    private func probe(_ command: [String], _ bench: BotWorkbench, policy: String = "{}") async throws
        -> WireRuntimeProfile
    {
        let rules = try PolicyRules(json: Array(policy.utf8))
        let backend = NativeRuntimeBackend(
            botsDirectory: bench.bots,
            transport: try BotWorkbench.loopback(),
            environment: ["PATH": "/usr/bin:/bin"],
            policy: PolicyRegistry(Policy(local: rules, file: "/etc/edge-agent/policy.json")),
            executor: bench.executor
        )
        return await backend.probe(RuntimeProfile(name: "default", command: CommandTemplate(words: command)))
    }

    @Test("no such command, no executable file, a directory, a name that is not in PATH")
    func commands() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let file = bench.path + "/plain"
        try Files.replace(file, with: [], mode: 0o644)
        defer { unlink(file) }
        for (command, part) in [
            ("/nonexistent/bot", "does not exist"), (file, "not an executable file"),
            ("/tmp", "not an executable file"),
            ("no-such-bot-anywhere", "not found in PATH"), ("./bot", "absolute path"),
        ] {
            let answer = try await probe([command], bench)
            #expect(!answer.usable && answer.reason.contains(part) && answer.reason.contains(command), "\(answer)")
        }
        #expect(try await probe(["/bin/sh", "-c", "true"], bench).usable)
    }

    @Test("a command that the node's own policy does not list, with the rule that refused")
    func policy() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let refused = try await probe(["/bin/sh"], bench, policy: #"{"commands": ["/opt/bots/allowed"]}"#)
        #expect(!refused.usable && refused.reason.contains("commands"), "\(refused)")
        let backend = try await probe(["/bin/sh"], bench, policy: #"{"backends": ["docker"]}"#)
        #expect(!backend.usable && backend.reason.contains("backends"), "\(backend)")
    }
}
