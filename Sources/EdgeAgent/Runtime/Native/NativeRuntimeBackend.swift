import CLinux
import Dispatch
import FoundationEssentials
import Glibc
import Synchronization
import WireFormat

/// Runs bots as processes of this machine, each under a supervisor of its own (`edge-agent supervise`).
actor NativeRuntimeBackend: EdgeRuntimeBackend {
    nonisolated let kind = "native"

    /// A supervisor that was just started is given this long to write down who it is.
    private static let adoptionAttempts = 100
    private static let adoptionPause = Duration.milliseconds(50)
    /// What is left of a lost launch is killed again and again for this long.
    private static let lostKillAttempts = 100

    private let root: String
    private let supervisorExecutable: String
    private let transport: any BotChatTransport
    private let inherited: [String: String]
    private let executor: QueueExecutor

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - botsDirectory: `<state>/bots`.
    ///   - supervisorExecutable: a program that takes `supervise <bot directory>`. The default is the running program
    ///     itself, also after its file was replaced by an upgrade.
    ///   - environment: of the agent; only PATH, LANG and TZ are passed on to bots.
    ///   - executor: where files are read and written.
    init(
        botsDirectory: String,
        supervisorExecutable: String = "/proc/self/exe",
        transport: any BotChatTransport,
        environment: [String: String],
        executor: QueueExecutor
    ) {
        root = botsDirectory
        self.supervisorExecutable = supervisorExecutable
        self.transport = transport
        self.executor = executor
        var inherited = environment.filter { ["PATH", "LANG", "TZ"].contains($0.key) }
        if inherited["PATH", default: ""].isEmpty {
            inherited["PATH"] = "/usr/local/bin:/usr/bin:/bin"
        }
        self.inherited = inherited
    }

    // MARK: Profiles

    func probe(_ profile: RuntimeProfile) -> WireRuntimeProfile {
        var answer = WireRuntimeProfile()
        answer.name = profile.name
        answer.backend = kind
        answer.description_p = profile.command.words.joined(separator: " ")
        answer.engine = profile.engine
        answer.engineVersion = profile.engineVersion
        do {
            _ = try executable(of: profile)
            answer.usable = true
        } catch {
            answer.reason = error.message
        }
        return answer
    }

    /// Absolute path of the profile's program.
    private func executable(of profile: RuntimeProfile) throws(RuntimeError) -> String {
        let name = profile.command.words[0]
        if name.hasPrefix("/") {
            guard access(name, F_OK) == 0 else {
                throw RuntimeError(
                    .profileNotUsable,
                    "the launch command \(name) does not exist; install it or "
                        + "correct the profile"
                )
            }
            guard Self.isExecutableFile(name) else {
                throw RuntimeError(
                    .profileNotUsable,
                    "the launch command \(name) is not an executable file; check "
                        + "its mode (chmod +x)"
                )
            }
            return name
        }
        guard !name.contains("/") else {
            throw RuntimeError(
                .profileNotUsable,
                "the launch command \(name) must be an absolute path, or a name "
                    + "found in PATH"
            )
        }
        for directory in inherited["PATH", default: ""].split(separator: ":") {
            let candidate = "\(directory)/\(name)"
            if directory.hasPrefix("/"), Self.isExecutableFile(candidate) { return candidate }
        }
        throw RuntimeError(
            .profileNotUsable,
            "the launch command \(name) is not found in PATH (\(inherited["PATH", default: ""])); install it or "
                + "give its absolute path"
        )
    }

    private static func isExecutableFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }

    // MARK: Files

    @discardableResult
    func prepare(botID: String, configuration: [UInt8]) throws(RuntimeError) -> Bool {
        let directory = try BotDirectory(root: root, botID: botID)
        var wanted = configuration
        if !wanted.isEmpty, !PacketFields.isObject(wanted) {
            throw RuntimeError(
                .configurationNotJSON,
                "the configuration of bot \(botID) is not a JSON object; "
                    + "correct it and start the bot again"
            )
        }
        try directory.make()
        do {
            let stored = try Files.read(directory.config)
            if wanted.isEmpty {
                wanted = stored ?? Array("{}".utf8)
                guard PacketFields.isObject(wanted) else {
                    throw RuntimeError(
                        .configurationNotJSON,
                        "\(directory.config) is not a JSON object; correct it "
                            + "and start the bot again"
                    )
                }
            }
            guard stored != wanted else { return false }
            try Files.replace(directory.config, with: wanted, mode: 0o600)
            return true
        } catch {
            throw .wrapping(error)
        }
    }

    func remove(botID: String, keepWorkspace: Bool) throws(RuntimeError) {
        try BotDirectory(root: root, botID: botID).remove(keepWorkspace: keepWorkspace)
    }

    nonisolated func logDirectory(botID: String) throws(RuntimeError) -> String {
        try BotDirectory(root: root, botID: botID).logs
    }

    func reservePort(preferred: UInt16, avoiding: Set<UInt16>) throws(RuntimeError) -> UInt16 {
        if preferred != 0, Self.bindLoopback(preferred) != nil { return preferred }
        for _ in 0..<64 {
            guard let port = Self.bindLoopback(0) else { break }
            if !avoiding.contains(port) { return port }
        }
        throw RuntimeError(
            .launchFailed,
            "no free port on 127.0.0.1 for the bot's chat endpoint: "
                + "\(String(errno: errno))"
        )
    }

    /// The port that could be bound, or nil.
    private static func bindLoopback(_ port: UInt16) -> UInt16? {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return nil }
        defer { close(socket) }
        // As servers do: connections of the launch before that linger in TIME_WAIT do not count as "in use".
        var yes: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, length) == 0 && getsockname(socket, $0, &length) == 0
            }
        }
        return isBound ? UInt16(bigEndian: address.sin_port) : nil
    }

    // MARK: Launching

    func start(_ request: LaunchRequest) throws(RuntimeError) -> LaunchHandle {
        let directory = try BotDirectory(root: root, botID: request.botID)
        let program = try executable(of: request.profile)
        let plan = plan(request, directory, program)
        do {
            unlink(directory.grace)
            try Files.replace(directory.launch, with: Array(try JSONEncoder().encode(plan)), mode: 0o600)
        } catch {
            throw .wrapping(error)
        }
        let pid = try Self.spawnSupervisor(supervisorExecutable, directory, inherited)
        guard let supervisor = ProcessIdentity.current(pid) else {
            waitpid(pid, nil, WNOHANG)
            throw RuntimeError(
                .launchFailed,
                "the supervisor of bot \(request.botID) ended at once; see "
                    + "\(directory.supervisorErrors)"
            )
        }
        return LaunchHandle(botID: request.botID, launchID: request.launchID, supervisor: supervisor)
    }

    private func plan(_ request: LaunchRequest, _ directory: BotDirectory, _ program: String) -> LaunchPlan {
        let prefix = "@@packet-\(RandomText.hex(bytes: 16)) "
        var environment = inherited
        environment["HOME"] = directory.path
        environment["BOT_ID"] = request.botID
        environment["BOT_NAME"] = request.name
        environment["BOT_CONFIG"] = directory.config
        environment["BOT_WORKSPACE"] = directory.workspace
        environment["BOT_CHAT_HOST"] = "127.0.0.1"
        environment["BOT_CHAT_PORT"] = String(request.chatPort)
        environment["BOT_CHAT_TOKEN"] = RandomText.hex(bytes: 32)
        environment["BOT_PACKET_PREFIX"] = prefix
        environment.merge(request.profile.environment) { _, own in own }
        return LaunchPlan(
            launchID: request.launchID,
            executable: program,
            arguments: request.profile.command.filled([
                "config": directory.config,
                "workspace": directory.workspace,
                "bot_id": request.botID,
                "port": String(request.chatPort),
            ]),
            workingDirectory: directory.path,
            environment: environment,
            packetPrefix: prefix,
            graceMilliseconds: Int(request.profile.grace.milliseconds),
            segmentBytes: request.profile.logLimits.segmentBytes,
            segmentCount: request.profile.logLimits.segmentCount
        )
    }

    private static func spawnSupervisor(
        _ program: String,
        _ directory: BotDirectory,
        _ inherited: [String: String]
    ) throws(RuntimeError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(
            &actions,
            1,
            directory.supervisorErrors,
            O_WRONLY | O_CREAT | O_TRUNC | O_APPEND,
            0o600
        )
        posix_spawn_file_actions_adddup2(&actions, 1, 2)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // A session of its own: no signal meant for the agent's terminal or group reaches it.
        CLinux_spawn_new_session(&attributes)

        var pid: pid_t = 0
        let environment = inherited.map { "\($0.key)=\($0.value)" }
        let code = CStringArray.with(["edge-agent", "supervise", directory.path]) { arguments in
            CStringArray.with(environment) { environment in
                posix_spawn(&pid, program, &actions, &attributes, arguments, environment)
            }
        }
        guard code == 0 else {
            throw RuntimeError(.launchFailed, "the supervisor \(program) could not be started: \(String(errno: code))")
        }
        return pid
    }

    // MARK: Finding again

    func adopt(botID: String) async -> LaunchHandle? {
        for _ in 0..<Self.adoptionAttempts {
            guard let directory = try? BotDirectory(root: root, botID: botID), directory.isSupervised else {
                return nil
            }
            if let handle = running(directory) { return handle }
            // The lock is held and the state not yet written: it is being started right now.
            guard (try? await Task.sleep(for: Self.adoptionPause)) != nil else { return nil }
        }
        return nil
    }

    func status(botID: String) -> LaunchHandle? {
        guard let directory = try? BotDirectory(root: root, botID: botID) else { return nil }
        return running(directory)
    }

    private func running(_ directory: BotDirectory) -> LaunchHandle? {
        guard let state = directory.readSupervisorState(), state.supervisor.isAlive else { return nil }
        return LaunchHandle(botID: directory.botID, launchID: state.launchID, supervisor: state.supervisor)
    }

    // MARK: Ending

    func stop(_ handle: LaunchHandle, grace: Duration) {
        guard let directory = try? BotDirectory(root: root, botID: handle.botID) else { return }
        // Without this file (a full disk) the grace of the profile holds, which is what the supervisor knows.
        try? Files.replace(directory.grace, with: Array(String(grace.milliseconds).utf8), mode: 0o600)
        handle.supervisor.signal(SIGTERM)
    }

    func kill(_ handle: LaunchHandle) {
        handle.supervisor.signal(SIGKILL)
    }

    func waitUntilEnded(_ handle: LaunchHandle) async {
        guard let descriptor = handle.supervisor.open() else {
            Self.reap(handle.supervisor.pid)
            return
        }
        let queue = DispatchQueue(label: "edge-agent.process-end")
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        let (ended, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        source.setEventHandler { continuation.finish() }
        source.setCancelHandler { close(descriptor) }
        source.activate()
        for await _ in ended {}
        source.cancel()
        Self.reap(handle.supervisor.pid)
    }

    /// Collects the exit status where the supervisor is a child of this agent; adopted ones are not.
    private static func reap(_ pid: pid_t) {
        waitpid(pid, nil, WNOHANG)
    }

    func finishLost(botID: String, launchID: String) async {
        guard let directory = try? BotDirectory(root: root, botID: botID), let lock = directory.takeLock() else {
            return
        }
        defer { close(lock) }
        var lastLimits = LogSegmentWriter.Limits()
        if let plan = directory.readPlan(), plan.launchID == launchID {
            lastLimits = .init(segmentBytes: plan.segmentBytes, segmentCount: plan.segmentCount)
            // Nothing but this launch and what it started carries the random prefix in its environment.
            for _ in 0..<Self.lostKillAttempts {
                let left = SystemProcesses.carrying("BOT_PACKET_PREFIX=\(plan.packetPrefix)")
                if left.isEmpty { break }
                for process in left { process.identity.signal(SIGKILL) }
                guard (try? await Task.sleep(for: .milliseconds(20))) != nil else { return }
            }
        }
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        event.launchID = launchID
        event.code = 0
        event.signal = SIGKILL
        event.requested = false
        event.lost = true
        var record: [UInt8] = []
        event.line.withUnsafeBytes {
            LogRecord.write(
                to: &record,
                timestamp: LogTimestamp.text(LogTimestamp.now()),
                stream: .supervisor,
                isTruncated: false,
                text: $0
            )
        }
        var writer = LogSegmentWriter(directory: directory.logs, limits: lastLimits)
        writer.append(record, count: 1)
        writer.flush()
    }

    // MARK: Usage

    func usage(_ handle: LaunchHandle) -> BotProcessRoot? {
        BotProcessRoot(
            botID: handle.botID,
            pid: handle.supervisor.pid,
            startTicks: handle.supervisor.startTime,
            isSupervisor: true
        )
    }

    // MARK: Chat

    func deliver(
        _ handle: LaunchHandle,
        url: String?,
        body: [UInt8],
        timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        let (chat, token) = try endpoint(handle, url)
        return try await transport.post(url: chat, token: token, body: body, timeout: timeout)
    }

    func isHealthy(_ handle: LaunchHandle, chatURL: String?) async -> Bool {
        guard let (chat, token) = try? endpoint(handle, chatURL), let origin = Self.origin(chat) else { return false }
        let answer = try? await transport.get(url: origin + "/healthz", token: token, timeout: .seconds(5))
        return answer?.status == 200
    }

    /// Where this launch takes messages, and the token it was given.
    private func endpoint(_ handle: LaunchHandle, _ url: String?) throws(BotChatError) -> (url: String, token: String) {
        guard let directory = try? BotDirectory(root: root, botID: handle.botID), let plan = directory.readPlan(),
            plan.launchID == handle.launchID
        else { throw .notConnected("the launch is over") }
        let host = plan.environment["BOT_CHAT_HOST", default: "127.0.0.1"]
        let port = plan.environment["BOT_CHAT_PORT", default: "0"]
        return (url ?? "http://\(host):\(port)/chat", plan.environment["BOT_CHAT_TOKEN", default: ""])
    }

    private static func origin(_ url: String) -> String? {
        guard url.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(7)
        return "http://" + rest[..<(rest.firstIndex(of: "/") ?? rest.endIndex)]
    }
}

extension Duration {
    /// Whole milliseconds, not below 0.
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        return seconds < 0 ? 0 : UInt64(seconds) * 1_000 + UInt64(max(0, attoseconds)) / 1_000_000_000_000_000
    }
}
