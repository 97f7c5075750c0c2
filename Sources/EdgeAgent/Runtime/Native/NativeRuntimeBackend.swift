import CLinux
import Dispatch
import Glibc
import Synchronization
import WireFormat

/// Runs bots as processes of this machine, each under a supervisor of its own (`edge-agent supervise`).
actor NativeRuntimeBackend: EdgeRuntimeBackend {
    nonisolated let kind = BackendKind.native

    /// A supervisor that was just started is given this long to write down who it is.
    private static let adoptionAttempts = 100
    private static let adoptionPause = Duration.milliseconds(50)
    /// What is left of a lost launch is killed again and again for this long.
    private static let lostKillAttempts = 100

    private let root: String
    private let supervisorExecutable: String
    private let chat: BotChatClient
    private let inherited: [String: String]
    private let policy: PolicyRegistry
    private let executor: QueueExecutor
    private let layout: ControlGroupLayout
    private let holder: HolderClient?
    private let cages: CagePlanner
    private let input = BotInput()

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - botsDirectory: `<state>/bots`.
    ///   - supervisorExecutable: a program that takes `supervise <bot directory>`. The default is the running program
    ///     itself, also after its file was replaced by an upgrade.
    ///   - environment: of the agent; only PATH, LANG and TZ are passed on to bots.
    ///   - policy: which programs may be launched.
    ///   - executor: where files are read and written.
    ///   - layout: where control groups for bots can be made while no holder runs.
    ///   - holder: who starts supervisors while it runs; nil: nobody but this agent.
    ///   - secrets: files and directories that no bot may reach.
    init(
        botsDirectory: String,
        supervisorExecutable: String = "/proc/self/exe",
        transport: any BotChatTransport,
        environment: [String: String],
        policy: PolicyRegistry = PolicyRegistry(.standard),
        executor: QueueExecutor,
        layout: ControlGroupLayout = .current(),
        holder: HolderClient? = nil,
        secrets: [String] = []
    ) {
        root = botsDirectory
        cages = CagePlanner(secrets: secrets + [botsDirectory, botsDirectory + "-control"])
        BotDirectory.moveControls(beneath: botsDirectory)
        self.supervisorExecutable = supervisorExecutable
        chat = BotChatClient(transport: transport)
        self.policy = policy
        self.executor = executor
        self.layout = layout
        self.holder = holder
        var inherited = environment.filter { ["PATH", "LANG", "TZ"].contains($0.key) }
        if inherited["PATH", default: ""].isEmpty {
            inherited["PATH"] = "/usr/local/bin:/usr/bin:/bin"
        }
        self.inherited = inherited
    }

    // MARK: Profiles

    func probe(_ profile: RuntimeProfile) -> WireRuntimeProfile {
        var answer = profile.wire
        do throws(RuntimeError) {
            _ = try executable(of: profile)
            let user = try BotUser.resolve(profile.user)
            if let problem = cages.problem(profile.isolation) { throw RuntimeError(.profileNotUsable, problem) }
            answer.isolation = isolation(profile, user).map(\.wire)
            answer.usable = true
        } catch {
            answer.reason = error.message
        }
        return answer
    }

    /// What keeps bots of the profile to themselves, as far as this agent can tell.
    private func isolation(_ profile: RuntimeProfile, _ user: BotUser?) -> [IsolationInForce] {
        let features = IsolationFeatures.current()
        var cage = Cage(opensUnixSockets: profile.isolation.opensUnixSockets)
        cage.opened = profile.isolation.readable + profile.isolation.writable
        return features.inForce(
            profile.isolation.isOn ? cage : nil,
            hasOwnUser: user.map { $0.uid != 0 } ?? false,
            answersCalls: features.answersCalls(of: user)
        )
    }

    /// Absolute path of the profile's program, which the policy allows.
    private func executable(of profile: RuntimeProfile) throws(RuntimeError) -> String {
        if let problem = profile.problem { throw RuntimeError(.profileNotUsable, problem) }
        guard let name = profile.command.words.first else {
            throw RuntimeError(.profileNotUsable, "the profile \(profile.name) has no launch command")
        }
        let program = try ProgramLookup.find(name, path: inherited["PATH", default: ""])
        do throws(PolicyRefusal) {
            try policy.current.check(backend: kind.rawValue, from: .node)
            try policy.current.check(command: profile.command.words, program: program, from: .node)
        } catch {
            throw .refused(error)
        }
        return program
    }

    // MARK: Files

    @discardableResult
    func prepare(botID: String, configuration: [UInt8], profile: RuntimeProfile) async throws(RuntimeError) -> Bool {
        let user = try BotUser.resolve(profile.user)
        let directory = try BotDirectory(root: root, botID: botID)
        let hasChanged = try directory.prepare(configuration: configuration)
        // Goes over the whole workspace.
        let root = root
        try await FileWork.run { () throws(RuntimeError) in try BotOwnership.apply(user, to: directory, root: root) }
        return hasChanged
    }

    func remove(botID: String, keeping kept: BotRemains) async throws(RuntimeError) {
        let directory = try BotDirectory(root: root, botID: botID)
        try await FileWork.run { () throws(RuntimeError) in try directory.remove(keeping: kept) }
    }

    nonisolated func logs(botID: String) throws(RuntimeError) -> String {
        try BotDirectory(root: root, botID: botID).logs
    }

    // MARK: Launching

    func start(_ request: LaunchRequest) async throws(RuntimeError) -> LaunchHandle {
        let directory = try BotDirectory(root: root, botID: request.botID)
        let program = try executable(of: request.profile)
        try await requireNobodyLeft(directory)
        // What is left of a launch before is no reason not to begin another.
        try? await FileWork.run { () throws(RuntimeError) in
            try? TreeRemover.empty(directory.temporary, keeping: [])
        }
        let connection = await holder?.connect()
        do {
            unlink(directory.stopRequest)
            unlink(directory.input)
            let plan = try plan(request, directory, program, connection?.holder.layout ?? layout)
            try Files.replace(directory.launch, with: plan.encoded, mode: 0o600)
        } catch {
            throw .wrapping(error)
        }
        let supervisor = try spawnSupervisor(directory, by: connection)
        return LaunchHandle(botID: request.botID, launchID: request.launchID, carrier: .process(supervisor))
    }

    private var supervisorEnvironment: [String: String] {
        inherited.merging(Defence.passedOn) { own, _ in own }
    }

    private func spawnSupervisor(
        _ directory: BotDirectory,
        by holder: HolderConnection?
    ) throws(RuntimeError) -> ProcessIdentity {
        let arguments = ["supervise", directory.path]
        if let holder {
            let errors = try SupervisorProcess.openErrors(directory)
            defer { close(errors) }
            return try holder.spawn(
                supervisorExecutable,
                errors: errors,
                arguments: arguments,
                environment: supervisorEnvironment
            )
        }
        let pid = try SupervisorProcess.spawn(
            supervisorExecutable,
            directory,
            arguments: arguments,
            environment: supervisorEnvironment
        )
        guard let supervisor = ProcessIdentity.current(pid) else {
            waitpid(pid, nil, WNOHANG)
            throw RuntimeError(
                .launchFailed,
                "the supervisor of bot \(directory.botID) ended at once; see \(directory.supervisorErrors)"
            )
        }
        return supervisor
    }

    private func plan(
        _ request: LaunchRequest,
        _ directory: BotDirectory,
        _ program: String,
        _ layout: ControlGroupLayout
    ) throws(RuntimeError) -> LaunchPlan {
        let profile = request.profile
        var plan = LaunchPlan()
        plan.launchID = request.launchID
        plan.profile = profile.name
        plan.placementEpoch = request.placementEpoch
        plan.executable = program
        plan.arguments = profile.command.filled([
            "config": directory.config,
            "workspace": directory.workspace,
            "bot_id": request.botID,
            "port": String(request.chatPort),
        ])
        plan.workingDirectory = directory.path
        let contract = LaunchPlan.contractEnvironment(
            request,
            config: directory.config,
            workspace: directory.workspace,
            home: directory.path
        )
        plan.environment = inherited.merging(contract) { _, own in own }
            .merging(["TMPDIR": directory.temporary]) { own, _ in own }
            .merging(profile.environment) { _, own in own }
        plan.user = try BotUser.resolve(profile.user)
        if let problem = cages.problem(profile.isolation) { throw RuntimeError(.profileNotUsable, problem) }
        plan.cage = cages.cage(
            profile,
            command: [program] + plan.arguments.dropFirst(),
            directory: directory,
            path: plan.environment["PATH", default: ""],
            isRoot: geteuid() == 0 && plan.user == nil
        )
        plan.packetPrefix = contract["BOT_PACKET_PREFIX", default: ""]
        if profile.delivery == .stdin {
            guard mkfifo(directory.input, 0o600) == 0 else {
                throw RuntimeError(.storageFailed, "\(directory.input) cannot be made: \(String(errno: errno))")
            }
            plan.input = directory.input
            // It may open what it has been given by its name, `/dev/stdin`; the way there is closed to other users.
            plan.cage?.readable.append(directory.input)
        }
        plan.limits = profile.limits
        plan.controlGroups = layout.groups(
            instance: Self.instance(root),
            botID: request.botID,
            launchID: request.launchID
        )
        plan.controlGroupShortfall = layout.shortfall
        plan.stop = profile.stop
        plan.logLimits = profile.logLimits
        plan.isLeased = request.isLeased
        return plan
    }

    /// Tells this agent's control groups from those of another agent on this machine: FNV-1a of its directory.
    static func instance(_ root: String) -> String {
        let hash = root.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64(clamping: $1)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }

    // MARK: Finding again

    func leftovers() -> [LaunchRemains] { LaunchRemains.written(beneath: root, by: kind) }

    func workspaces() -> [String] {
        DirectoryNames.list(root).filter { name in
            guard let directory = try? BotDirectory(root: root, botID: name) else { return false }
            let workspace = directory.path + "/workspace"
            guard access(workspace, R_OK | X_OK) == 0 else { return errno != ENOENT }
            return !DirectoryNames.list(workspace, atMost: 1, isWhole: true).isEmpty
        }
    }

    func adopt(botID: String) async -> LaunchHandle? {
        for _ in 0..<Self.adoptionAttempts {
            guard let directory = try? BotDirectory(root: root, botID: botID), directory.isSupervised else {
                return nil
            }
            if let handle = running(directory) {
                await input.adopted(handle.launchID)
                return handle
            }
            // The lock is held and the state not yet written: it is being started right now.
            guard (try? await Task.sleep(for: Self.adoptionPause)) != nil else { return nil }
        }
        return nil
    }

    func status(botID: String) -> LaunchStatus? {
        guard let directory = try? BotDirectory(root: root, botID: botID), let handle = running(directory) else {
            return nil
        }
        let state = directory.readSupervisorState()
        return LaunchStatus(handle: handle, bot: state?.bot, controlGroups: state?.controlGroups ?? [:])
    }

    private func running(_ directory: BotDirectory) -> LaunchHandle? {
        guard let state = directory.readSupervisorState(), state.supervisor.isAlive else { return nil }
        return LaunchHandle(botID: directory.botID, launchID: state.launchID, carrier: .process(state.supervisor))
    }

    // MARK: Ending

    func stop(_ handle: LaunchHandle, sequence: StopSequence) {
        guard let directory = try? BotDirectory(root: root, botID: handle.botID) else { return }
        // Without this file (a full disk) the sequence of the plan holds, which is what the supervisor knows.
        try? Files.replace(directory.stopRequest, with: Array(sequence.encoded.utf8), mode: 0o600)
        handle.supervisor?.signal(SIGTERM)
    }

    func kill(_ handle: LaunchHandle) {
        handle.supervisor?.signal(SIGKILL)
    }

    func waitUntilEnded(_ handle: LaunchHandle) async {
        guard let supervisor = handle.supervisor else { return }
        guard let descriptor = supervisor.open() else {
            Self.reap(supervisor.pid)
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
        Self.reap(supervisor.pid)
    }

    /// Collects the exit status where the supervisor is a child of this agent; adopted ones are not.
    private static func reap(_ pid: pid_t) {
        waitpid(pid, nil, WNOHANG)
    }

    func finishLost(botID: String, launchID: String) async -> SupervisorEvent? {
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        event.launchID = launchID
        event.code = 0
        event.signal = 0
        event.requested = false
        event.lost = true
        guard let directory = try? BotDirectory(root: root, botID: botID), let lock = await directory.takeLeftLock()
        else {
            return nil
        }
        defer { close(lock) }
        var logLimits = LogSegmentWriter.Limits()
        if let plan = directory.readPlan(), plan.launchID == launchID {
            logLimits = plan.logLimits
            // What a copied plan names runs on from the directory that was copied, and is that one's.
            if !directory.isCopied(plan) {
                guard let left = await endRemains(of: plan) else { return nil }
                event.survivors = left.isEmpty ? nil : left
            }
        }
        // The supervisor may have died after it had learned how the bot ended, or had no room in the log for it.
        if var known = ExitFile.read(directory.exitFile, launchID: launchID) {
            known.survivors = event.survivors
            event = known
        }
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
        var writer = LogSegmentWriter(directory: directory.logs, limits: logLimits)
        writer.append(record, count: 1)
        writer.flush()
        return event
    }

    /// Kills what a launch has left behind: its control groups, and whatever carries its packet prefix, which is random
    /// and inherited, in its environment.
    ///
    /// - Returns: what could not be ended, in words; nil where it was cancelled.
    private func endRemains(of plan: LaunchPlan) async -> String? {
        let groups = LaunchControlGroups(existing: plan.controlGroups)
        var left: Set<pid_t> = []
        for _ in 0..<Self.lostKillAttempts {
            let carriers = SystemProcesses.carrying("BOT_PACKET_PREFIX=\(plan.packetPrefix)")
            left = groups.members().union(carriers.map(\.pid))
            if left.isEmpty { break }
            groups.kill()
            for process in carriers { process.identity.signal(SIGKILL) }
            guard (try? await Task.sleep(for: .milliseconds(20))) != nil else { return nil }
        }
        groups.remove()
        return SystemProcesses.words(Array(left)) ?? ""
    }

    /// Where what a launch before had started could not be ended, it is tried again, and nothing begins beside it.
    private func requireNobodyLeft(_ directory: BotDirectory) async throws(RuntimeError) {
        guard let plan = directory.readPlan(), !directory.isCopied(plan),
            let exit = ExitFile.read(directory.exitFile, launchID: plan.launchID), exit.survivors != nil
        else { return }
        guard let left = await endRemains(of: plan), !left.isEmpty else { return }
        throw RuntimeError(.stopFailed, "bot \(directory.botID): \(BotRecord.survivalNotice(left))")
    }

    // MARK: Usage

    func usage(_ handle: LaunchHandle) -> BotProcessRoot? {
        guard let supervisor = handle.supervisor else { return nil }
        let state = (try? BotDirectory(root: root, botID: handle.botID))?.readSupervisorState()
        return BotProcessRoot(
            botID: handle.botID,
            pid: supervisor.pid,
            startTicks: supervisor.startTime,
            isSupervisor: true,
            controlGroups: state?.launchID == handle.launchID ? state?.controlGroups ?? [:] : [:]
        )
    }

    // MARK: Chat

    func deliver(
        _ handle: LaunchHandle,
        url: String?,
        body: [UInt8],
        timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        guard let plan = plan(of: handle) else { throw .notConnected("the launch is over") }
        return try await chat.post(plan, url: url, body: body, timeout: timeout)
    }

    func write(_ line: [UInt8], to handle: LaunchHandle, timeout: Duration) async throws(BotChatError) {
        guard let plan = plan(of: handle), !plan.input.isEmpty else { throw .notConnected("the launch is over") }
        try await input.write(line, to: plan.input, launchID: handle.launchID, timeout: timeout)
    }

    func isHealthy(_ handle: LaunchHandle, chatURL: String?) async -> Bool {
        guard let plan = plan(of: handle) else { return false }
        return await chat.isHealthy(plan, url: chatURL)
    }

    private func plan(of handle: LaunchHandle) -> LaunchPlan? {
        guard let directory = try? BotDirectory(root: root, botID: handle.botID), let plan = directory.readPlan(),
            plan.launchID == handle.launchID
        else { return nil }
        return plan
    }
}
