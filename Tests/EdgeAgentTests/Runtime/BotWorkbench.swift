import FoundationEssentials
import Glibc
import Logging
import Synchronization
import Testing
import WebSocketKitLite
import WireFormat

@testable import EdgeAgent

/// A state directory, a journal and a fleet with real processes, for one test.
///
/// Bots are small shell or Python scripts. The supervisor is the built `edge-agent` beside the test program.
final class BotWorkbench: Sendable {
    let path: String
    let executor = QueueExecutor(label: "test.files")
    let holderPID = Atomic<pid_t>(0)
    static let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    init() throws {
        var template = Array("/tmp/edge-agent-test-XXXXXX".utf8CString)
        path =
            try mkdtemp(&template).map { String(cString: $0) }
            ?? {
                throw NotReached(
                    description: "no temporary "
                        + "directory"
                )
            }()
        try Files.makeDirectory(bots, mode: 0o700)
    }

    var bots: String { path + "/bots" }
    func directory(_ botID: String) -> String { bots + "/" + botID }
    func logs(_ botID: String) -> String { directory(botID) + "/.agent/logs" }

    /// Ends whatever the test left running and removes its files. Call it last.
    func cleanUp() {
        for botID in ["a", "b", "c"] {
            guard let directory = try? BotDirectory(root: bots, botID: botID), let plan = directory.readPlan() else {
                continue
            }
            directory.readSupervisorState()?.supervisor.signal(SIGKILL)
            for entry in SystemProcesses.carrying("BOT_PACKET_PREFIX=\(plan.packetPrefix)") {
                entry.identity.signal(SIGKILL)
            }
            LaunchControlGroups(existing: plan.controlGroups).remove()
        }
        endHolder()
        for name in ["bots", "bots-control"] { _ = try? BotDirectory(root: path, botID: name).remove(keeping: []) }
        for name in [
            "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "holder.lock", "holder.sock", "holder.log",
            "holder.key",
            "program",
        ] { unlink(path + "/" + name) }
        rmdir(path)
    }

    /// The built `edge-agent`, beside the test program.
    static var supervisorExecutable: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let program = String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let beside = program[..<(program.lastIndex(of: "/") ?? program.startIndex)] + "/edge-agent"
        if access(String(beside), X_OK) == 0 { return String(beside) }
        // Some versions of the test runner load the bundle into a helper; its path stands among the arguments.
        for argument in CommandLine.arguments where argument.hasSuffix(".xctest") {
            let beside = argument[..<(argument.lastIndex(of: "/") ?? argument.startIndex)] + "/edge-agent"
            if access(String(beside), X_OK) == 0 { return String(beside) }
        }
        return ".build/debug/edge-agent"
    }

    func shell(_ script: String, name: String = "default") -> RuntimeProfile {
        RuntimeProfile(name: name, command: CommandTemplate(words: ["/bin/sh", "-c", script, "bot"]))
    }

    /// The sample bot of this repository.
    func sample(name: String = "default") -> RuntimeProfile {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        return RuntimeProfile(
            name: name,
            command: CommandTemplate(words: [
                "python3", "/\(root)/samples/bot/sample-bot", "--config", "{config}", "--workspace", "{workspace}",
            ])
        )
    }

    func journal() throws -> Journal {
        try Journal(path: path + "/journal.sqlite")
    }

    /// One loop for the whole test run; it lives as long as the process.
    private static let loop = Result { try EpollLoop.start() }

    static func loopback() throws -> LoopbackHTTPTransport {
        LoopbackHTTPTransport(loop: try loop.get())
    }

    /// Starts a holder for this state directory, `program` or the built `edge-agent`, unless one was started before.
    func startHolder(_ program: String? = nil) throws -> HolderClient {
        guard holderPID.load(ordering: .relaxed) == 0 else {
            return HolderClient(stateDirectory: path, logger: Self.quiet)
        }
        let errors = open(path + "/holder.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        defer { close(errors) }
        var pid: pid_t = 0
        let code = SupervisorProcess.spawn(
            program ?? Self.supervisorExecutable,
            &pid,
            errors: errors,
            arguments: [Holder.command, path],
            environment: [:]
        )
        guard code == 0 else { throw NotReached(description: "no holder: \(String(errno: code))") }
        holderPID.store(pid, ordering: .relaxed)
        while access(path + "/holder.sock", F_OK) != 0 {
            guard waitpid(pid, nil, WNOHANG) == 0 else { throw NotReached(description: "the holder ended") }
            poll(nil, 0, 5)
        }
        return HolderClient(stateDirectory: path, logger: Self.quiet)
    }

    /// Puts the built `edge-agent` at this path, as a file of its own. By a program, so that no other test's child inherits it
    /// while it is open for writing.
    func install(_ path: String) throws {
        var pid: pid_t = 0
        let code = SupervisorProcess.spawn(
            "/bin/cp",
            &pid,
            errors: STDERR_FILENO,
            arguments: [Self.supervisorExecutable, path + ".new"],
            environment: [:]
        )
        var status: Int32 = -1
        waitpid(pid, &status, 0)
        guard code == 0, status == 0, rename(path + ".new", path) == 0 else {
            throw NotReached(description: "\(path) could not be made")
        }
    }

    /// Kills the holder and what it started.
    func endHolder() {
        let pid = holderPID.exchange(0, ordering: .relaxed)
        guard pid > 0 else { return }
        for entry in SystemProcesses.descendants(of: pid) { entry.identity.signal(SIGKILL) }
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    func backend(
        transport: (any BotChatTransport)? = nil,
        layout: ControlGroupLayout = .current(),
        holder: HolderClient? = nil,
        policy: PolicyRegistry = PolicyRegistry(.standard)
    ) throws -> NativeRuntimeBackend {
        NativeRuntimeBackend(
            botsDirectory: bots,
            supervisorExecutable: Self.supervisorExecutable,
            transport: try transport ?? Self.loopback(),
            environment: ["PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SECRET_OF_THE_AGENT": "1"],
            policy: policy,
            executor: executor,
            layout: layout,
            holder: holder
        )
    }

    func fleet(
        _ profiles: [RuntimeProfile],
        journal: Journal,
        backoff: RestartBackoff = RestartBackoff(),
        timing: BotFleet.Timing = BotFleet.Timing(),
        transport: (any BotChatTransport)? = nil,
        backends: [any EdgeRuntimeBackend]? = nil,
        policy: PolicyRegistry = PolicyRegistry(.standard),
        contact: HubContact = HubContact()
    ) throws -> BotFleet {
        BotFleet(
            backends: RuntimeBackends(try backends ?? [backend(transport: transport, policy: policy)]),
            profiles: profiles,
            journal: journal,
            executor: executor,
            notifier: try FileChangeNotifier(),
            policy: policy,
            contact: contact,
            backoff: backoff,
            timing: timing,
            startsAtOnce: 4,
            logger: Self.quiet
        )
    }

    static func specification(_ botID: String = "a", epoch: UInt64 = 1, config: String = "{}") -> WireBotSpecification {
        filled(WireBotSpecification()) {
            $0.botID = botID
            $0.name = "Bot \(botID)"
            $0.runtimeProfile = "default"
            $0.placementEpoch = epoch
            $0.configJson = Data(config.utf8)
        }
    }

    /// Follows the log until there is such a line.
    func waitForLine(_ line: String, botID: String = "a") async throws {
        let log = BotLog(
            directory: logs(botID),
            request: filled(WireLogRequest()) { $0.follow = true },
            notifier: try FileChangeNotifier(),
            executor: executor
        )
        for try await chunk in log where chunk.lines.contains(where: { $0.text == Data(line.utf8) }) { return }
    }

    /// Every record of a bot's log.
    func records(_ botID: String = "a") -> [LogRecord] {
        var reader = LogReader(directory: logs(botID))
        var records: [LogRecord] = []
        var offset: UInt64 = 0
        while true {
            let batch = reader.read(from: offset)
            records += batch.records
            if batch.reachedEnd { return records }
            offset = batch.nextOffset
        }
    }
}

/// Runs a fleet for the time of `body`, as the agent does; after that the bots are left alone.
func running<Value: Sendable>(_ fleet: BotFleet, _ body: () async throws -> Value) async throws -> Value {
    try await fleet.recover()
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await fleet.run() }
        defer { group.cancelAll() }
        return try await body()
    }
}

/// Waits for a change after which the condition holds.
func eventually(
    _ fleet: BotFleet,
    _ botID: String = "a",
    within limit: Duration = .seconds(20),
    _ condition: @escaping @Sendable (WireBotStatus) async -> Bool
) async throws -> WireBotStatus {
    try await withThrowingTaskGroup(of: WireBotStatus?.self) { group in
        group.addTask {
            while true {
                let ticket = fleet.changed.ticket
                if let status = await fleet.statuses().first(where: { $0.botID == botID }), await condition(status) {
                    return status
                }
                try await fleet.changed.wait(after: ticket)
            }
        }
        group.addTask {
            try await Task.sleep(for: limit)
            return nil
        }
        defer { group.cancelAll() }
        if case let status?? = try await group.next() { return status }
        let last = await fleet.statuses().first { $0.botID == botID }
        throw NotReached(description: "not reached within \(limit); last status: \(String(describing: last))")
    }
}

struct NotReached: Error, CustomStringConvertible {
    let description: String
}

/// A message with fields set.
func filled<Message>(_ message: Message, _ fill: (inout Message) -> Void) -> Message {
    var message = message
    fill(&message)
    return message
}

extension LogRecord {
    var string: String { String(decoding: text, as: UTF8.self) }
}
