import FoundationEssentials
import Glibc
import Logging
import ServiceLifecycle
import UnixSignals
import WebSocketKitLite
import WireFormat

/// Puts the agent together: the only place that names concrete types.
struct AgentAssembly: Sendable {
    private let lock: Int32
    private let services: [any Service]
    private let logger: Logger

    /// Opens everything the agent stands on.
    ///
    /// - Throws: `AgentError` where it cannot start at all. A hub that cannot be reached is no such reason.
    init(_ configuration: AgentConfiguration, logger: Logger) async throws(AgentError) {
        let policy = PolicyRegistry(try PolicyFile.load(configuration.policyFile))
        if let patterns = PolicyAdvice(policy: policy.current).patterns { logger.warning("\(patterns)") }
        let directory = try StateDirectory(path: configuration.stateDirectory)
        if let openness = directory.openness { logger.warning("\(openness)") }
        let lock = try directory.lock()
        // Before anything looks where this process is.
        ControlGroupLayout.stepAside()
        let holder = HolderClient(stateDirectory: directory.path, logger: logger)
        await holder.renew()
        let source = try CredentialSource(configuration, IdentityStore(directory: directory))
        // Before anything of the bots is touched.
        try IdentityTwin.requireNone(in: directory, source.current)
        let journal = try Self.openJournal(directory, configuration.packetBudget, logger)
        let loop = try Self.startLoop()
        let connection: @Sendable (HubPlace) throws(AgentError) -> HubConnection = { place throws(AgentError) in
            try HubConnection(
                url: place.url,
                authorityFile: place.authorityFile,
                pinSHA256: place.pinSHA256,
                configuration: configuration,
                loop: loop
            )
        }
        // One that cannot be dialed at all is told before anything is begun.
        _ = try connection(source.place)
        if let other = source.overruledHub {
            logger.warning(
                "this node is paired with another hub than the settings name; they win, and the pairing waits for them to be changed",
                metadata: ["hub": "\(source.place.url)", "paired_with": "\(other)"]
            )
        }
        let profiles = try await Self.profiles(configuration, logger)
        let bots = try Self.makeFleet(
            configuration,
            profiles,
            holder,
            policy,
            directory,
            journal,
            loop,
            logger
        )
        let telemetry = TelemetryFeed(
            sampler: TelemetrySampler(logger: logger),
            roots: { await bots.processRoots() },
            measured: { await bots.measuredUsages() },
            problems: { await bots.problems(stateDirectory: directory.path) }
        )
        let workspaces = WorkspaceService(
            files: WorkspaceFiles(
                botsDirectory: directory.file("bots"),
                rules: WorkspaceGuard(policy, botsDirectory: directory.file("bots"), profiles: profiles)
            ),
            logger: logger
        )
        let commands = CommandExecutor(journal: journal, bots: bots, workspaces: workspaces, logger: logger)
        let introduction = Introduction(
            journal: journal,
            nodeID: { source.current.nodeID },
            bots: bots,
            policy: policy
        )
        let status = LinkStatus(wallClock: Journal.wallClock)
        let test = TestSettings(environment: ProcessInfo.processInfo.environment, prefix: "EDGE")
        let clock = SessionClock(unixMilliseconds: Journal.wallClock)
        let session = LinkSession(
            clock: clock,
            hello: { await introduction.hello() },
            telemetry: telemetry,
            settings: { Self.narrow(policy, $0, logger) },
            bots: bots,
            commands: NodeCommandHandler(
                inspection: NodeInspection(telemetry: telemetry, introduction: introduction),
                launches: LaunchInspection(bots: bots),
                credentials: source,
                next: commands
            ),
            packets: PacketUplink(journal: journal, clock: clock, logger: logger),
            logs: LogUplink(source: bots, logger: logger),
            workspaces: workspaces,
            status: status,
            configuration: Self.sessionConfiguration(test),
            logger: logger
        )
        let link = LinkService(
            credentials: source,
            connection: connection,
            session: session,
            status: status,
            backoff: test.backoff,
            logger: logger
        )
        self.lock = lock
        self.logger = logger
        // The link goes first when the agent stops, so that no command comes in any more.
        services = [
            MemoryService(), FleetService(bots: bots), JournalService(journal: journal, logger: logger), commands,
            StatusService(
                directory: directory.path,
                status: RunningStatus(
                    stateDirectory: directory.path,
                    place: { source.place },
                    link: status,
                    bots: bots,
                    journal: journal,
                    policy: policy,
                    holder: holder
                ),
                logger: logger
            ), link,
        ]
    }

    /// Runs until SIGTERM or SIGINT.
    func run() async throws(AgentError) {
        var configuration = ServiceGroupConfiguration(
            services: services,
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        )
        configuration.maximumGracefulShutdownDuration = .seconds(15)
        logger.info("agent started", metadata: ["version": "\(AgentVersion.current)"])
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch {
            throw AgentError(.software, "the agent stopped: \(error)")
        }
        logger.info("agent stopped, bots run on")
    }

    private static func sessionConfiguration(_ test: TestSettings) -> AgentSessionMachine.Configuration {
        var configuration = AgentSessionMachine.Configuration()
        configuration.limits.sendingOrder = test.sendingOrder
        configuration.versions = test.versions
        return configuration
    }

    private static func openJournal(
        _ directory: StateDirectory,
        _ budget: Journal.PacketBudget,
        _ logger: Logger
    ) throws(AgentError) -> Journal {
        do {
            return try Journal(
                path: directory.file("journal.sqlite"),
                budget: budget,
                onSalvage: { report in logger.error("\(report)") }
            )
        } catch {
            throw .stateDirectory(directory.path, "cannot be used: \(error)")
        }
    }

    private static func startLoop() throws(AgentError) -> EpollLoop {
        do {
            return try EpollLoop.start()
        } catch {
            throw AgentError(.unavailable, error.message)
        }
    }

    static func profiles(
        _ configuration: AgentConfiguration,
        _ logger: Logger
    ) async throws(AgentError) -> [RuntimeProfile] {
        let environment = ProcessInfo.processInfo.environment
        let catalog = ProfileCatalog(
            configured: configuration.profiles,
            nativeCommand: configuration.nativeCommand,
            search: LauncherSearch(
                roots: configuration.launcherRoots,
                home: environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil },
                path: environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
            )
        )
        let profiles = try await catalog.profiles().map { profile in
            var profile = profile
            if profile.backend == .native, profile.user == nil { profile.user = configuration.botUser }
            return profile
        }
        for profile in profiles {
            var facts: Logger.Metadata = [
                "profile": "\(profile.name)", "command": "\(profile.command.words.joined(separator: " "))",
                "engine": "\(profile.engine) \(profile.engineVersion)",
            ]
            if let problem = profile.problem {
                facts["reason"] = "\(problem)"
                logger.notice("A runtime profile cannot be used.", metadata: facts)
            } else {
                logger.info("runtime profile", metadata: facts)
            }
        }
        return profiles
    }

    private static func makeFleet(
        _ configuration: AgentConfiguration,
        _ profiles: [RuntimeProfile],
        _ holder: HolderClient,
        _ policy: PolicyRegistry,
        _ directory: StateDirectory,
        _ journal: Journal,
        _ loop: EpollLoop,
        _ logger: Logger
    ) throws(AgentError) -> BotFleet {
        let executor = QueueExecutor(label: "edge-agent.bots")
        do {
            return BotFleet(
                backends: backends(
                    configuration,
                    in: directory.path,
                    holder: holder,
                    policy: policy,
                    loop: loop,
                    executor: executor
                ),
                profiles: profiles,
                journal: journal,
                executor: executor,
                notifier: try FileChangeNotifier(),
                policy: policy,
                contact: HubContact(isLinked: true),
                logger: logger
            )
        } catch {
            throw AgentError(.configuration, error.message)
        }
    }

    /// - Parameter directory: the agent's state.
    static func backends(
        _ configuration: AgentConfiguration,
        in directory: String,
        holder: HolderClient,
        policy: PolicyRegistry,
        loop: EpollLoop,
        executor: QueueExecutor
    ) -> RuntimeBackends {
        RuntimeBackends([
            NativeRuntimeBackend(
                botsDirectory: directory + "/bots",
                transport: LoopbackHTTPTransport(loop: loop),
                environment: ProcessInfo.processInfo.environment,
                policy: policy,
                executor: executor,
                holder: holder,
                secrets: [directory] + configuration.secretFiles.filter { access($0, R_OK) == 0 }
            ),
            DockerRuntimeBackend(
                botsDirectory: directory + "/bots",
                engine: CurlTransport(socketPath: configuration.dockerSocket),
                guards: LeaseGuards(engineSocket: configuration.dockerSocket),
                transport: LoopbackHTTPTransport(loop: loop),
                credentials: RegistryCredentials(environment: ProcessInfo.processInfo.environment),
                environment: ProcessInfo.processInfo.environment,
                policy: policy,
                executor: executor
            ),
        ])
    }

    /// What is not understood changes nothing: a hub that is newer than this agent must not open what it had closed.
    private static func narrow(_ policy: PolicyRegistry, _ settings: WireSessionSettings, _ logger: Logger) {
        do {
            let bytes = Array(settings.policyNarrowingJson)
            policy.narrow(by: bytes.isEmpty ? PolicyRules() : try PolicyRules(json: bytes))
        } catch {
            logger.error(
                "The hub's restriction of this node is not understood and the one before stays; upgrade the agent.",
                metadata: ["reason": "\(error.message)"]
            )
        }
    }
}

/// Keeps the bots for as long as the agent runs.
private struct FleetService: Service {
    let bots: BotFleet

    func run() async throws {
        try await cancelWhenGracefulShutdown { try await bots.run() }
    }
}

extension BotFleet: LogSource {}
