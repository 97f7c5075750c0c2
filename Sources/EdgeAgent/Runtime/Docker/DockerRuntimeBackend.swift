import Glibc
import WireFormat

/// Runs bots as containers of a Docker Engine, by its API. No container has a supervisor: while the agent is away the
/// engine keeps running, output and exit status, and the next agent takes in what it missed.
actor DockerRuntimeBackend: EdgeRuntimeBackend {
    nonisolated let kind = BackendKind.docker
    private nonisolated let launchNotes = LaunchNotes()
    nonisolated var notes: LaunchNotes? { launchNotes }
    /// Where Docker's socket is unless the configuration says otherwise.
    static let defaultSocket = "/var/run/docker.sock"

    let root: String
    let engine: EngineClient
    private let guards: LeaseGuards?
    private let chat: BotChatClient
    private let images: ImageProvider
    private let policy: PolicyRegistry
    private let inherited: [String: String]
    private let executor: QueueExecutor
    let instance: String
    private var followers: [String: ContainerFollower] = [:]
    private var samples: [String: (launchID: String, seconds: Double, at: ContinuousClock.Instant)] = [:]

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - botsDirectory: `<state>/bots`.
    ///   - engine: carries requests to the engine.
    ///   - guards: end launches on trial where the agent cannot; nil leaves that to the agent.
    ///   - environment: of the agent; only LANG and TZ are passed on to bots.
    ///   - executor: where files are read and written.
    init(
        botsDirectory: String,
        engine: any EngineTransport,
        guards: LeaseGuards? = nil,
        transport: any BotChatTransport,
        credentials: RegistryCredentials,
        environment: [String: String],
        policy: PolicyRegistry = PolicyRegistry(.standard),
        executor: QueueExecutor
    ) {
        root = botsDirectory
        self.engine = EngineClient(transport: engine)
        self.guards = guards
        images = ImageProvider(engine: self.engine, credentials: credentials, notes: launchNotes)
        chat = BotChatClient(transport: transport)
        self.policy = policy
        self.executor = executor
        inherited = environment.filter { ["LANG", "TZ"].contains($0.key) }
        instance = Self.instance(botsDirectory)
    }

    /// Tells this agent's containers from those of another agent of this engine: FNV-1a of its directory.
    private static func instance(_ root: String) -> String {
        let hash = root.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64(clamping: $1)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }

    // MARK: Profiles

    func probe(_ profile: RuntimeProfile) async -> WireRuntimeProfile {
        var answer = profile.wire
        do throws(RuntimeError) {
            let settings = try settings(of: profile)
            answer.image = settings.image
            answer.network = settings.network
            _ = try BotUser.resolve(profile.user)
            let facts = try await asking { () async throws(EngineError) in try await engine.negotiate() }
            answer.backendVersion = facts.description
            let isHere =
                try await asking { () async throws(EngineError) in try await engine.image(settings.image) } != nil
            answer.imagePresent = isHere
            guard isHere || settings.pull != .never else { throw ImageProvider.missing(settings.image) }
            answer.isolation = ContainerIsolation.inForce(settings).map(\.wire)
            answer.usable = true
        } catch {
            answer.reason = error.message
        }
        return answer
    }

    /// The profile's settings, which the policy allows.
    private func settings(of profile: RuntimeProfile) throws(RuntimeError) -> ContainerSettings {
        guard let settings = profile.container else {
            throw RuntimeError(.profileNotUsable, "the profile \(profile.name) names no image")
        }
        let policy = policy.current
        do throws(PolicyRefusal) {
            try policy.check(backend: kind.rawValue, from: .node)
            try policy.check(image: settings.image, from: settings.imageOrigin)
            for mount in settings.mounts { try policy.check(directory: mount.source, from: .node) }
        } catch {
            throw RuntimeError.wrapping(error)
        }
        return settings
    }

    // MARK: Files

    @discardableResult
    func prepare(botID: String, configuration: [UInt8], profile: RuntimeProfile) async throws(RuntimeError) -> Bool {
        let user = try BotUser.resolve(profile.user)
        let directory = try BotDirectory(root: root, botID: botID)
        let hasChanged = try directory.prepare(configuration: configuration)
        do {
            try Files.makeDirectory(directory.containerHome, mode: 0o700)
        } catch {
            throw .wrapping(error)
        }
        // Goes over the whole workspace.
        let root = root
        try await FileWork.run { () throws(RuntimeError) in try BotOwnership.apply(user, to: directory, root: root) }
        return hasChanged
    }

    func remove(botID: String, keeping kept: BotRemains) async throws(RuntimeError) {
        let directory = try BotDirectory(root: root, botID: botID)
        try await removeContainers(botID)
        followers[botID] = nil
        samples[botID] = nil
        try await FileWork.run { () throws(RuntimeError) in try directory.remove(keeping: kept) }
    }

    nonisolated func logs(botID: String) throws(RuntimeError) -> String {
        try BotDirectory(root: root, botID: botID).logs
    }

    // MARK: Images

    func provision(botID: String, profile: RuntimeProfile) async throws(RuntimeError) {
        try await images.provide(try settings(of: profile), botID: botID)
    }

    func checkProvision(_ profile: RuntimeProfile) async throws(RuntimeError) {
        try await images.check(try settings(of: profile))
    }

    // MARK: Launching

    func start(_ request: LaunchRequest) async throws(RuntimeError) -> LaunchHandle {
        let directory = try BotDirectory(root: root, botID: request.botID)
        let settings = try settings(of: request.profile)
        let running = try await containers(of: request.botID).contains { $0.state == "running" || $0.state == "paused" }
        guard !running, await followers[request.botID]?.isOver ?? true, let lock = directory.takeLock() else {
            throw RuntimeError(.launchFailed, "bot \(request.botID) runs already; stop it first")
        }
        do throws(RuntimeError) {
            return try await start(request, settings, directory, lock: lock)
        } catch {
            unlink(directory.containerRecord)
            throw error
        }
    }

    private func start(
        _ request: LaunchRequest,
        _ settings: ContainerSettings,
        _ directory: BotDirectory,
        lock: Int32
    ) async throws(RuntimeError) -> LaunchHandle {
        var isLockHeld = true
        defer { if isLockHeld { close(lock) } }
        let facts = try await asking { () async throws(EngineError) in try await engine.negotiate() }
        try await removeContainers(request.botID)
        unlink(directory.stopRequest)
        unlink(directory.pendingLine)
        let user = try BotUser.resolve(request.profile.user)
        let plan = plan(request, settings)
        var record = ContainerRecord(
            launchID: request.launchID,
            name: "edge-\(instance)-\(request.botID)-\(request.launchID)",
            logOffset: LogSegments.endOffset(directory.logs),
            network: settings.network
        )
        do {
            try Files.replace(directory.launch, with: plan.encoded, mode: 0o600)
        } catch {
            throw .wrapping(error)
        }
        try record.write(directory)
        let specification = ContainerSpecification(
            request,
            settings,
            plan: plan,
            directory: directory,
            home: directory.containerHome,
            user: "\(user?.uid ?? geteuid()):\(user?.gid ?? getegid())",
            instance: instance
        )
        let name = record.name
        let created: EngineModels.Created
        do throws(EngineError) {
            created = try await engine.create(name: name, specification)
        } catch {
            throw error.isNotFound ? ImageProvider.missing(settings.image) : Self.launchFailure(error, settings)
        }
        record.containerID = created.id
        try record.write(directory)
        // Before it runs: an agent that dies in between leaves nothing that nobody would end.
        if request.isLeased { try guards?.begin(directory, record) }
        do throws(EngineError) {
            try await engine.start(created.id)
        } catch {
            // It never ran; what cannot be removed now is removed before the next launch.
            try? await engine.remove(created.id)
            throw Self.launchFailure(error, settings)
        }
        isLockHeld = false
        let limits = ContainerLimits.inForce(request.profile.limits, facts.info, warnings: created.warnings ?? [])
        return await follow(
            directory,
            plan,
            record,
            lock: lock,
            limits: limits,
            isolation: ContainerIsolation.inForce(settings)
        )
    }

    private func follow(
        _ directory: BotDirectory,
        _ plan: LaunchPlan,
        _ record: ContainerRecord,
        lock: Int32,
        limits: [LimitInForce] = [],
        isolation: [IsolationInForce] = []
    ) async -> LaunchHandle {
        let follower = ContainerFollower(
            engine: engine,
            directory: directory,
            plan: plan,
            record: record,
            lock: lock,
            limits: limits,
            isolation: isolation,
            notes: launchNotes,
            executor: executor
        )
        followers[directory.botID] = follower
        await follower.begin()
        return follower.handle
    }

    private func plan(_ request: LaunchRequest, _ settings: ContainerSettings) -> LaunchPlan {
        var contract = LaunchPlan.contractEnvironment(
            request,
            config: ContainerPaths.config,
            workspace: ContainerPaths.workspace,
            home: ContainerPaths.home
        )
        // Behind a published port the container's own loopback interface is out of reach.
        if !settings.usesHostNetwork { contract["BOT_CHAT_HOST"] = "0.0.0.0" }
        var plan = LaunchPlan()
        plan.launchID = request.launchID
        plan.profile = request.profile.name
        plan.placementEpoch = request.placementEpoch
        plan.backend = kind
        plan.executable = settings.image
        plan.arguments = [settings.image] + request.profile.command.words
        plan.workingDirectory = ContainerPaths.home
        plan.environment = inherited.merging(contract) { _, own in own }
            .merging(request.profile.environment) { _, own in own }
        plan.packetPrefix = contract["BOT_PACKET_PREFIX", default: ""]
        plan.limits = request.profile.limits
        plan.stop = request.profile.stop
        plan.logLimits = request.profile.logLimits
        return plan
    }

    // MARK: Finding again

    func adopt(botID: String) async -> LaunchHandle? {
        if let follower = followers[botID], await !follower.isOver { return follower.handle }
        guard let directory = try? BotDirectory(root: root, botID: botID),
            let (record, plan) = await unfinished(directory), let lock = await directory.takeLeftLock()
        else { return nil }
        let tail = ContainerLogTail(
            directory: directory.logs,
            launchID: record.launchID,
            offset: record.logOffset,
            pendingSince: nil,
            now: Journal.wallClock()
        )
        guard tail.end == nil else {
            // The agent died between the last record and its tidying up.
            close(lock)
            try? await engine.remove(record.reference)
            unlink(directory.containerRecord)
            return nil
        }
        // Whether it runs the follower finds out, also where the engine is away just now.
        return await follow(directory, plan, record, lock: lock)
    }

    func status(botID: String) async -> LaunchStatus? {
        guard let follower = followers[botID], await !follower.isOver else { return nil }
        let process = await follower.firstProcess()
        return LaunchStatus(
            handle: follower.handle,
            bot: process,
            controlGroups: process.map { ContainerGroups.of($0.pid) } ?? [:]
        )
    }

    private func follower(_ handle: LaunchHandle) -> ContainerFollower? {
        guard let follower = followers[handle.botID], follower.handle == handle else { return nil }
        return follower
    }

    // MARK: Ending

    func stop(_ handle: LaunchHandle, sequence: StopSequence) async {
        await follower(handle)?.stop(sequence)
    }

    func kill(_ handle: LaunchHandle) async {
        await follower(handle)?.kill()
    }

    func waitUntilEnded(_ handle: LaunchHandle) async {
        await follower(handle)?.waitUntilEnded()
    }

    func finishLost(botID: String, launchID: String) async -> SupervisorEvent? {
        // Whatever is left of it is adopted and brought to its end, as if it had been followed all the time.
        if let handle = await adopt(botID: botID) {
            guard handle.launchID == launchID else { return nil }
            await waitUntilEnded(handle)
            guard !Task.isCancelled else { return nil }
        }
        guard let directory = try? BotDirectory(root: root, botID: botID), let lock = await directory.takeLeftLock()
        else {
            return nil
        }
        var plan = directory.readPlan() ?? LaunchPlan()
        plan.launchID = launchID
        // Closes the lock.
        var output = ContainerOutput(directory: directory, plan: plan, logOffset: 0, lock: lock)
        if let end = output.end { return end }
        let event = ContainerEnd.event(
            launchID: launchID,
            state: nil,
            isRequested: false,
            wasKilled: false,
            lastStderr: []
        )
        output.conclude(event)
        return event
    }

    /// Lets go of every launch, as if the agent had died.
    func leave() async {
        for follower in followers.values { await follower.leave() }
        followers = [:]
    }

    // MARK: Usage

    func usage(_ handle: LaunchHandle) async -> BotProcessRoot? {
        guard let process = await follower(handle)?.firstProcess() else { return nil }
        return BotProcessRoot(
            botID: handle.botID,
            pid: process.pid,
            startTicks: process.startTime,
            controlGroups: ContainerGroups.of(process.pid)
        )
    }

    func measuredUsage(_ handle: LaunchHandle) async -> WireBotUsage? {
        guard let follower = follower(handle), await !follower.isOver, case .container(let id) = handle.carrier,
            let stats = try? await engine.stats(id)
        else { return nil }
        let now = ContinuousClock.now
        let before = samples[handle.botID].flatMap { $0.launchID == handle.launchID ? $0 : nil }
        let usage = stats.usage(
            botID: handle.botID,
            at: Journal.wallClock(),
            before: before.map { ($0.seconds, now - $0.at) }
        )
        samples[handle.botID] = (handle.launchID, usage.cpuSecondsTotal, now)
        return usage
    }

    // MARK: Chat

    func write(_ line: [UInt8], to handle: LaunchHandle, timeout: Duration) async throws(BotChatError) {
        throw .notConnected("a container's standard input is not connected; its profile has to deliver by chat")
    }

    func deliver(
        _ handle: LaunchHandle,
        url: String?,
        body: [UInt8],
        timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        guard let (plan, record) = launch(handle) else { throw .notConnected("the launch is over") }
        let url = try ContainerChat.url(url, network: record.network, port: Self.port(plan))
        return try await chat.post(plan, url: url, body: body, timeout: timeout)
    }

    func isHealthy(_ handle: LaunchHandle, chatURL: String?) async -> Bool {
        guard let (plan, record) = launch(handle),
            let url = try? ContainerChat.url(chatURL, network: record.network, port: Self.port(plan))
        else { return false }
        return await chat.isHealthy(plan, url: url)
    }

    private func launch(_ handle: LaunchHandle) -> (LaunchPlan, ContainerRecord)? {
        guard let directory = try? BotDirectory(root: root, botID: handle.botID), let plan = directory.readPlan(),
            plan.launchID == handle.launchID, let record = ContainerRecord.read(directory)
        else { return nil }
        return (plan, record)
    }

    private static func port(_ plan: LaunchPlan) -> UInt16 {
        plan.environment["BOT_CHAT_PORT"].flatMap { UInt16(decimal: $0) } ?? 0
    }

    // MARK: The engine

    func containers(of botID: String) async throws(RuntimeError) -> [EngineModels.Listed] {
        try await asking { () async throws(EngineError) in
            try await engine.containers(labels: [ContainerLabels.instance: instance, ContainerLabels.bot: botID])
        }
    }

    private func removeContainers(_ botID: String) async throws(RuntimeError) {
        for container in try await containers(of: botID) {
            try await asking { () async throws(EngineError) in try await engine.remove(container.id) }
        }
    }

    func asking<Value: Sendable>(
        _ call: () async throws(EngineError) -> Value
    ) async throws(RuntimeError) -> Value {
        do throws(EngineError) {
            return try await call()
        } catch {
            throw error.asRuntimeError
        }
    }

    private static func launchFailure(_ error: EngineError, _ settings: ContainerSettings) -> RuntimeError {
        if case .refused(_, let message) = error {
            return RuntimeError(.launchFailed, "the container of image \(settings.image) cannot be started: \(message)")
        }
        return error.asRuntimeError
    }
}
