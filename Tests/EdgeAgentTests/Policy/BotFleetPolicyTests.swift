import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// The policy where it counts: at a fleet with real bots, against what a hub would send.
@Suite("Policy of a fleet", .timeLimit(.minutes(2)), .serialized)
struct BotFleetPolicyTests {
    private static let script = "echo \"secret: $APP_SECRET\"; exec sleep 1000"

    private func withFleet(
        _ rules: String,
        _ body: (BotFleet, BotWorkbench, PolicyRegistry) async throws -> Void
    ) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let policy = PolicyRegistry(
            Policy(local: try PolicyRules(json: Array(rules.utf8)), file: "/etc/edge-agent/policy.json")
        )
        let fleet = try bench.fleet([bench.shell(Self.script)], journal: try bench.journal(), policy: policy)
        try await running(fleet) { try await body(fleet, bench, policy) }
    }

    /// The error code of a start, nil where it succeeded.
    private func start(
        _ fleet: BotFleet,
        config: String = "{}",
        _ fill: (inout WireBotSpecification) -> Void = { _ in }
    ) async -> RuntimeError? {
        do throws(RuntimeError) {
            _ = try await fleet.start(filled(BotWorkbench.specification(config: config), fill))
            return nil
        } catch {
            return error
        }
    }

    @Test("A command that the policy does not list is reported before any start, and not started")
    func command() async throws {
        try await withFleet(#"{"commands": ["/opt/other *"]}"#) { fleet, bench, _ in
            let profile = try #require(await fleet.runtimeProfiles().first)
            #expect(!profile.usable && profile.reason.contains("rule \"commands\""))
            #expect(await start(fleet)?.message.contains("rule \"commands\"") == true)
            #expect(access(bench.directory("a"), F_OK) != 0)
        }
        try await withFleet(#"{"commands": ["/bin/sh -c *"], "backends": ["docker"]}"#) { fleet, _, _ in
            let profile = try #require(await fleet.runtimeProfiles().first)
            #expect(!profile.usable && profile.reason.contains("rule \"backends\""))
        }
    }

    @Test("Variables of a release pass by name only, and LD_PRELOAD never")
    func environment() async throws {
        try await withFleet(#"{"environment": ["APP_SECRET"]}"#) { fleet, bench, _ in
            let refused = await start(fleet) { $0.environment = ["APP_SECRET": "1", "LD_PRELOAD": "/tmp/evil.so"] }
            #expect(refused?.code == "refused_by_policy" && refused?.message.contains("LD_PRELOAD") == true)
            #expect(await start(fleet) { $0.environment = ["PYTHONPATH": "/tmp"] }?.code == "refused_by_policy")
            #expect(await start(fleet) { $0.environment = ["APP_SECRET": "7"] } == nil)
            try await bench.waitForLine("secret: 7")
            _ = try await fleet.stop("a", graceMilliseconds: 1)
        }
        try await withFleet("{}") { fleet, _, _ in
            #expect(await start(fleet) { $0.environment = ["APP_SECRET": "7"] }?.code == "refused_by_policy")
        }
    }

    @Test("Where the configuration is the node's, a hub that sends the same or none may start, another is refused")
    func configuration() async throws {
        try await withFleet(#"{"configuration": false}"#) { fleet, bench, _ in
            #expect(
                await start(fleet, config: #"{"mcp": "/bin/sh"}"#)?.message.contains("rule \"configuration\"") == true
            )
            #expect(await start(fleet) == nil)
            let file = bench.directory("a") + "/config.json"
            try Files.replace(file, with: Array(#"{"owner": 1}"#.utf8), mode: 0o600)
            #expect(await start(fleet, config: #"{"owner": 2}"#)?.code == "refused_by_policy")
            #expect(await start(fleet, config: #"{"owner": 1}"#) == nil)
            #expect(await start(fleet) == nil)
            #expect(try Files.read(file) == Array(#"{"owner": 1}"#.utf8))
            _ = try await fleet.stop("a", graceMilliseconds: 1)
        }
    }

    @Test("What would be refused afterwards is refused before the bot is stopped for it")
    func restart() async throws {
        try await withFleet(#"{"configuration": false}"#) { fleet, _, _ in
            #expect(await start(fleet) == nil)
            let launch = await fleet.statuses().first?.launchID
            for (change, code) in [
                ({ $0.configJson = Data(#"{"mcp": "/bin/sh"}"#.utf8) }, "refused_by_policy"),
                ({ $0.runtimeProfile = "gone" }, "profile_not_found"),
                ({ $0.environment = ["LD_PRELOAD": "/tmp/evil.so"] }, "refused_by_policy"),
            ] as [((inout WireBotSpecification) -> Void, String)] {
                var next = BotWorkbench.specification("a")
                change(&next)
                let refused = await #expect(throws: RuntimeError.self) {
                    try await fleet.stop("a", graceMilliseconds: 1, before: next)
                }
                #expect(refused?.code == code)
            }
            #expect(await fleet.statuses().first?.launchID == launch)
            _ = try await fleet.stop("a", graceMilliseconds: 1, before: BotWorkbench.specification("a"))
            #expect(await fleet.statuses().first?.phase == .stopped)
        }
    }

    @Test("Caps bound a bot that asks for more, or for nothing, and the number of bots")
    func caps() async throws {
        try await withFleet(#"{"caps": {"bots": 1, "open_files": 50, "memory_bytes": 500000000}}"#) { fleet, bench, _ in
            #expect(await start(fleet) { $0.limits.openFiles = 10_000 } == nil)
            let limits = try await fleet.effectiveLimits("a")
            #expect(limits.openFiles == 50 && limits.memoryBytes == 500_000_000)
            let second = await #expect(throws: RuntimeError.self) {
                try await fleet.start(BotWorkbench.specification("b"))
            }
            #expect(second?.message.contains("2 bots, above 1, is refused") == true)
            _ = try await fleet.stop("a", graceMilliseconds: 1)
        }
    }

    @Test("A hub's narrowing counts from the next start on, and cannot open what the file keeps closed")
    func narrowing() async throws {
        try await withFleet(#"{"environment": ["APP_MODE"]}"#) { fleet, _, policy in
            policy.narrow(by: try PolicyRules(json: Array(#"{"environment": ["*"], "commands": []}"#.utf8)))
            #expect(await start(fleet)?.message.contains("the hub's own restriction") == true)
            policy.narrow(by: try PolicyRules(json: Array(#"{"environment": ["*"]}"#.utf8)))
            #expect(await start(fleet) { $0.environment = ["OTHER": "1"] }?.code == "refused_by_policy")
            #expect(await start(fleet) == nil)
            _ = try await fleet.stop("a", graceMilliseconds: 1)
        }
    }

    @Test("What came from the hub is not launched, also by a profile that came later; what the bot wrote itself is")
    func provenance() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let profile = RuntimeProfile(
            name: "default",
            command: CommandTemplate(words: ["/bin/sh", "{workspace}/app/run.sh"])
        )
        let registry = PolicyRegistry(.standard)
        let fleet = try bench.fleet([profile], journal: try bench.journal(), policy: registry)
        try await running(fleet) {
            // As an operator wrote it while the node had no such profile.
            let bot = try BotDirectory(root: String(bench.directory("a").dropLast(2)), botID: "a")
            try bot.make()
            let files = WorkspaceFiles(botsDirectory: String(bot.path.dropLast(2)), rules: .open)
            var request = WireWriteFile()
            request.makeParents = true
            let path = try #require(WorkspacePath("app/run.sh".utf8))
            let upload = try files.replace("a", path, request, EntryCondition())
            try Array("exec sleep 1000\n".utf8).withUnsafeBytes { try upload.append($0) }
            _ = try upload.commit()
            let refused = await start(fleet)
            #expect(
                refused?.code == "refused_by_policy"
                    && refused?.message.contains("app/run.sh, which came from the hub") == true
            )
            // The bot, or the node's owner, writes it anew.
            try Files.replace(bot.workspace + "/app/run.sh", with: Array("exec sleep 2000\n".utf8), mode: 0o644)
            #expect(await start(fleet) == nil)
            _ = try await fleet.stop("a", graceMilliseconds: 1)
        }
    }

    @Test("A kept workspace keeps the record of what came from the hub")
    func keptWorkspace() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let path = bench.directory("a")
        let bot = try BotDirectory(root: String(path.dropLast(2)), botID: "a")
        try bot.make()
        try Files.makeDirectory(bot.fromHub, mode: 0o700)
        try Files.replace(bot.fromHub + "/1", with: [], mode: 0o600)
        try bot.remove(keeping: .workspace)
        #expect(access(bot.fromHub + "/1", F_OK) == 0 && access(bot.logs, F_OK) != 0)
        try bot.remove(keeping: [])
        #expect(access(bot.path, F_OK) != 0)
    }
}

extension BotFleet {
    /// What the bot's next launch would be bounded by.
    fileprivate func effectiveLimits(_ botID: String) throws -> ResourceLimits {
        let bot = try #require(bots[botID])
        return capped(try effectiveProfile(bot)).limits
    }
}
