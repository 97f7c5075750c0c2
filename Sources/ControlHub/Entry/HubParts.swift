import Foundation
import Logging
import WireFormat

/// The hub's slices, joined over one database. Used by the server and by the commands beside it.
struct HubParts: Sendable {
    let database: HubDatabase
    let clock: HubClock
    let events = EventFeed()
    let site: SiteInformation
    let logger: Logger
    let registry: NodeRegistry
    let nodes: NodeOperations
    let bots: BotOperations
    let commands: CommandOperations
    let packets: MonitorPacketOperations
    let enrollments: EnrollmentOperations
    let operators: OperatorOperations
    let idempotency: IdempotencyStore
    let trustedProxies: Set<String>
    let strangers: Strangers
    let archive: LogArchive?

    init(
        database: HubDatabase,
        key: HubKey,
        thresholds: HealthThresholds,
        telemetryInterval: Duration = .zero,
        resourceAge: Duration = RetentionSettings().resourceAge,
        clock: HubClock,
        site: SiteInformation,
        logger: Logger,
        trustedProxies: Set<String> = [],
        connections: ConnectionCensus.Settings = ConnectionCensus.Settings(),
        archive: LogArchive? = nil,
        localTokenDigest: Data? = nil,
        quotas: IntakeQuotas = IntakeQuotas()
    ) {
        self.archive = archive
        self.trustedProxies = trustedProxies
        strangers = Strangers(
            connections: connections,
            trustedProxies: trustedProxies,
            clock: clock,
            logger: logger
        )
        self.database = database
        self.clock = clock
        self.site = site
        self.logger = logger
        registry = NodeRegistry(thresholds: thresholds)
        nodes = NodeOperations(
            store: NodeStore(database: database),
            registry: registry,
            history: ResourceHistory(
                store: ResourceStore(database: database, hourlyAge: resourceAge.components.seconds)
            ),
            events: events,
            clock: clock,
            logger: logger,
            telemetryInterval: telemetryInterval
        )
        bots = BotOperations(database: database, events: events, clock: clock, registry: registry)
        let recoveries = TurnRecoveryRequests()
        commands = CommandOperations(
            database: database,
            bots: bots,
            arrivals: CommandArrivals(),
            recoveries: recoveries,
            events: events,
            clock: clock
        )
        packets = MonitorPacketOperations(
            database: database,
            bots: bots,
            events: events,
            clock: clock,
            recoveries: recoveries,
            intake: Intake(quotas, marks: registry.marks, events: events, clock: clock, logger: logger)
        )
        enrollments = EnrollmentOperations(
            store: EnrollmentStore(database: database),
            nodes: nodes,
            key: key,
            strangers: strangers,
            clock: clock
        )
        operators = OperatorOperations(
            store: OperatorStore(database: database),
            clock: clock,
            localTokenDigest: localTokenDigest
        )
        idempotency = IdempotencyStore(database: database, key: key)
    }

    /// Takes over the nodes that the database knows.
    func loadRegistry() async throws {
        registry.load(try await nodes.store.list(), now: clock.now(), date: clock.date())
    }

    /// - Parameter snapshotDirectory: where snapshots lie; they are kept within the bounds.
    func services(
        channel: any AgentChannel,
        snapshotDirectory: String,
        snapshotBounds: SnapshotBounds = SnapshotBounds(),
        patience: NodePatience = NodePatience(),
        retention: RetentionSettings = RetentionSettings()
    ) -> HubServices {
        let snapshots = SnapshotOperations(
            database: database,
            channel: channel,
            directory: snapshotDirectory,
            bounds: snapshotBounds,
            clock: clock,
            patience: patience,
            logger: logger
        )
        return HubServices(
            nodes: nodes,
            bots: bots,
            commands: commands,
            packets: packets,
            messages: MessageStore(database: database),
            deployments: DeploymentOperations(
                context: DeploymentContext(
                    database: database,
                    nodes: nodes,
                    bots: bots,
                    commands: commands,
                    channel: channel,
                    transfers: WorkspaceTransfers(channel: channel, patience: patience),
                    snapshots: snapshots,
                    events: events,
                    clock: clock,
                    logger: logger
                ),
                queue: DeploymentQueue()
            ),
            logs: LogOperations(
                bots: bots,
                channel: ChainedLogs(channel: channel, places: LogPlaceStore(database: database), archive: archive),
                clock: clock,
                archive: archive,
                patience: patience
            ),
            workspaces: WorkspaceOperations(
                bots: bots,
                channel: channel,
                audit: AuditStore(database: database),
                clock: clock,
                patience: patience
            ),
            retention: RetentionOperations(
                database: database,
                settings: retention,
                snapshots: snapshots,
                archive: archive,
                events: events,
                clock: clock,
                logger: logger
            ),
            streams: ServerSentEvents(),
            enrollments: enrollments,
            operators: operators,
            audit: AuditStore(database: database),
            events: events,
            channel: channel,
            idempotency: idempotency,
            limiter: AccessLimiter(),
            strangers: strangers,
            metrics: RequestMetrics(),
            startedAt: clock.date(),
            clock: clock,
            siteInformation: site,
            trustedProxies: trustedProxies,
            logger: logger
        )
    }
}
