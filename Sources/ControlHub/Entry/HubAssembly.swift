import Foundation
import Glibc
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle
import UnixSignals
import WebSocketKitLite
import WireFormat

/// Puts the hub together. The only place that names concrete types.
struct HubAssembly {
    let configuration: HubConfiguration
    let directory: DataDirectory
    let logger: Logger

    /// How long open requests and streams may take to end after SIGTERM.
    static let shutdownLimit = Duration.seconds(5)

    /// Serves until SIGTERM or SIGINT, or until `until` returns. Throws `StartFailure` when it cannot start.
    ///
    /// - Parameters:
    ///   - makesLoginLink: as long as nobody has signed in, the announcement lets its reader in.
    ///   - announce: called when the hub can be reached.
    func serve(
        until isOver: (@Sendable () async -> Void)? = nil,
        makingLoginLink makesLoginLink: Bool = false,
        announce: @escaping @Sendable (Announcement) -> Void
    ) async throws {
        try directory.lock()
        removeTraces()
        let descriptors = FileDescriptorLimit.raise()
        guard !configuration.insecureHTTP || configuration.isLoopback || configuration.publicURL != nil else {
            throw StartFailure(
                .configuration,
                "plain HTTP on \(configuration.listenHost) would send tokens in the clear. Listen on 127.0.0.1, or name the "
                    + "proxy in front with --public-url https://…"
            )
        }
        let tls = configuration.insecureHTTP ? nil : try tlsMaterial()
        let key = try directory.key()
        let database = try HubDatabase(path: directory.file(HubDatabase.fileName))
        let times = ClockStore(database: database)
        let test = TestSettings(environment: ProcessInfo.processInfo.environment, prefix: "HUB")
        let judged = JudgedClock(after: try times.read(), trial: test.clockTrial)
        let keeper = ClockKeeper(clock: judged, store: times, logger: logger)
        let clock = judged.hubClock()
        try await compactAtStart(database)
        let operators = OperatorOperations(store: OperatorStore(database: database), clock: clock)
        let site = SiteInformation(
            HubServices.Site(
                hubName: configuration.hubName,
                publicURL: configuration.publicURL ?? "",
                isTLS: tls != nil,
                caFile: tls?.caFile,
                pin: tls?.caFile == nil ? nil : tls?.pin
            )
        )
        let localToken = SecretBytes.token(prefix: LocalHub.tokenPrefix)
        let parts = HubParts(
            database: database,
            key: key,
            thresholds: configuration.thresholds,
            telemetryInterval: configuration.telemetryInterval,
            resourceAge: configuration.retention.resourceAge,
            clock: clock,
            site: site,
            logger: logger,
            trustedProxies: configuration.trustedProxies,
            connections: configuration.connections.within(descriptors: descriptors),
            archive: configuration.keptLogBytes > 0
                ? LogArchive(directory: directory.file("logs"), budgetBytes: configuration.keptLogBytes) : nil,
            localTokenDigest: SecretBytes.digest(localToken),
            quotas: configuration.quotas
        )
        let lineage = HubLineage(database: database, directory: directory)
        let date = clock.date()
        let restoration = try await lineage.begin(at: date) { db in try DeploymentStore.endRestored(db, at: date) }
        if let restoration { tell(restoration) }
        if try await database.write({ db in try HubKeyWitness.begin(db, with: key, at: date) }) {
            logger.warning(
                "hub.key is not the key that the database was written with",
                metadata: ["path": "\(directory.file(DataDirectory.keyName))", "advice": "\(HubKeyWitness.advice)"]
            )
        }
        try await parts.loadRegistry()
        let firstAdministrator = try await operators.firstAdministrator(withLoginToken: makesLoginLink)

        let gateway = makeGateway(parts)
        let services = parts.services(
            channel: gateway.channel,
            snapshotDirectory: directory.file("snapshots"),
            snapshotBounds: configuration.snapshots,
            patience: NodePatience().divided(by: test.impatience),
            retention: configuration.retention
        )
        let builder = try makeServer(tls: try tls.map(nioConfiguration), gateway: gateway)
        let router = try HubRouter.make(services)
        NodeEndpointRoute.add(to: router)
        var application = Application(
            router: router,
            server: builder,
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.listenHost, port: configuration.listenPort),
                serverName: nil
            ),
            onServerRunning: { channel in
                await withoutDescriptors(channel, strangers: parts.strangers)
                await listening(
                    on: channel,
                    site: site,
                    tls: tls,
                    firstAdministrator: firstAdministrator,
                    localToken: localToken,
                    announce: announce
                )
            },
            logger: logger
        )
        application.logger.logLevel = max(logger.logLevel, .notice)

        var group = ServiceGroupConfiguration(
            services: [
                .init(service: NodeLiveService(operations: parts.nodes, thresholds: configuration.thresholds)),
                .init(service: ResourceHistoryService(history: parts.nodes.history, clock: clock, logger: logger)),
                // A command is never sent after its time, and a turn stays open for a second longer than it should.
                .init(service: periodic("expired commands", clock) { try await parts.commands.expire() }),
                .init(service: periodic("time", clock, every: ClockKeeper.period) { try await keeper.round() }),
                .init(service: periodic("turns", clock) { try await parts.bots.endOverdueTurns() }),
                .init(
                    service: periodic("retention", clock, every: configuration.retention.interval) {
                        try await services.retention.round()
                    }
                ),
                .init(
                    service: periodic("mark of the database", clock, every: HubLineage.renewalInterval) {
                        try await lineage.renew()
                    }
                ),
                .init(
                    service: periodic("removals to try again", clock, every: .seconds(60)) {
                        try await services.deployments.retryRemovals()
                    }
                ),
                .init(service: periodic("deletions", clock) { try await services.retention.deletions() }),
                .init(service: periodic("refusals to report", clock) { parts.strangers.refusals.report() }),
                .init(service: TurnRecoveryService(packets: parts.packets, channel: gateway.channel, logger: logger)),
                .init(
                    service: DeploymentService(
                        context: services.deployments.context,
                        queue: services.deployments.queue,
                        gate: DeploymentGate(directory: test.deploymentHolds)
                    )
                ),
                .init(
                    service: SnapshotService(
                        snapshots: services.deployments.context.snapshots,
                        bots: parts.bots,
                        logger: logger
                    )
                ),
                .init(service: application),
            ] + (keepers(services) + gateway.services).map { .init(service: $0) },
            gracefulShutdownSignals: isOver == nil ? [.sigterm, .sigint] : [],
            logger: logger
        )
        group.maximumGracefulShutdownDuration = Self.shutdownLimit
        do {
            let services = ServiceGroup(configuration: group)
            try await withThrowingDiscardingTaskGroup { tasks in
                if let isOver {
                    tasks.addTask {
                        await isOver()
                        await services.triggerGracefulShutdown()
                    }
                }
                try await services.run()
                tasks.cancelAll()
            }
        } catch let error as IOError {
            throw bindFailure(error)
        } catch is CancellationError {
            // The limit for a graceful end was reached; what was committed is on disk.
        }
        // `try?`: the next hub goes on from the mark before.
        try? await keeper.end()
        try database.close()
        removeTraces()
    }

    private func tell(_ restoration: HubLineage.Restoration) {
        logger.warning(
            """
            the database was put back from a copy: what happened since is not in it. Bots that their nodes hold under a newer \
            placement, or that are not known here, are listed as strays of their nodes (GET /api/nodes/{id}/strays), and \
            are not stopped there
            """,
            metadata: ["copy_made_at": "\(restoration.copyMadeAt?.rfc3339 ?? "unknown")"]
        )
    }

    /// What tells others where the hub serves.
    private func removeTraces() {
        // `try?`: what stays is found to be out of date by whoever reads it.
        for name in ["hub.address", LocalHub.fileName] { try? directory.folder.remove(name) }
    }

    private func keepers(_ services: HubServices) -> [any Service] {
        services.logs.archive.map {
            [LogKeeperService(archive: $0, logs: services.logs, intake: services.packets.intake, logger: logger)]
        } ?? []
    }

    private func periodic(
        _ name: String,
        _ clock: HubClock,
        every period: Duration = .seconds(1),
        _ round: @escaping @Sendable () async throws -> Void
    ) -> PeriodicService {
        PeriodicService(name: name, period: period, clock: clock, logger: logger, round: round)
    }

    /// A database of before its file could shrink is copied once, where that takes seconds and there is room.
    private func compactAtStart(_ database: HubDatabase) async throws {
        let space = try await database.space()
        guard !space.isShrinking else { return }
        let advice: Logger.Message =
            "the database's file cannot shrink before it is copied once: stop the hub and run control-hub compact"
        guard space.bytes <= HubDatabase.compactedAtStartBytes else {
            logger.warning(advice, metadata: ["bytes": "\(space.bytes)"])
            return
        }
        do {
            logger.notice(
                "the database is copied once, so that its file can shrink",
                metadata: ["bytes": "\(space.bytes)"]
            )
            try database.compact()
        } catch let error as HubError {
            logger.warning(advice, metadata: ["reason": "\(error.detail)"])
        }
    }

    /// What is told when the hub is ready.
    struct Announcement: Sendable {
        let address: String
        let site: HubServices.Site
        let firstAdministrator: OperatorOperations.FirstAdministrator?
        let dataDirectory: String
    }

    // MARK: The nodes' endpoint

    /// The way to the agents and what runs it.
    struct Gateway: Sendable {
        let channel: any AgentChannel
        let services: [any Service]
        /// Wraps the HTTP responder into the channel of one connection.
        let builder: HTTPServerBuilder
    }

    private func makeGateway(_ parts: HubParts) -> Gateway {
        let gate = AdmissionGate(configuration.admission, clock: parts.clock)
        let service = GatewayService(
            nodes: parts.nodes,
            bots: parts.bots,
            commands: parts.commands,
            packets: parts.packets,
            strays: StrayBots(
                database: parts.database,
                commands: parts.commands,
                clock: parts.clock,
                logger: logger
            ),
            gate: gate,
            strangers: parts.strangers,
            hubVersion: HubVersion.version,
            session: Self.sessionConfiguration(),
            logger: logger
        )
        let test = TestSettings(environment: ProcessInfo.processInfo.environment, prefix: "HUB")
        let limits = HTTPPatience.Limits().divided(by: test.impatience)
        let strangers = parts.strangers
        let builder = HTTPServerBuilder { [logger] responder in
            let channel = WebSocketUpgradeChannel(
                responder: responder,
                webSocketConfiguration: GatewayService.connection,
                headTimeout: limits.head,
                watch: ConnectionWatch(strangers, limits: limits),
                accept: { try NodeRequest.accept($0, remoteAddress: $1, trustedProxies: parts.trustedProxies) },
                judge: { service.judge($0, $1) },
                makeApplication: { service.connection($0, $1) }
            )
            channel.makeTypes(logger: logger)
            return channel
        }
        return Gateway(channel: service, services: [service], builder: builder)
    }

    private static func sessionConfiguration() -> HubSessionMachine.Configuration {
        let test = TestSettings(environment: ProcessInfo.processInfo.environment, prefix: "HUB")
        var configuration = HubSessionMachine.Configuration()
        configuration.limits.sendingOrder = test.sendingOrder
        configuration.versions = test.versions
        return configuration
    }

    private func makeServer(tls: TLSConfiguration?, gateway: Gateway) throws -> HTTPServerBuilder {
        guard let tls else { return gateway.builder }
        return try .tls(gateway.builder, tlsConfiguration: tls)
    }

    // MARK: Parts

    private func tlsMaterial() throws -> TLSMaterial {
        if let certificate = configuration.tlsCertificate, let key = configuration.tlsKey {
            return try TLSMaterial.given(certificate: certificate, key: key)
        }
        return try TLSMaterial.prepare(
            in: directory,
            names: [HubConfiguration.machineName] + configuration.hostnames,
            at: Date()
        )
    }

    private func nioConfiguration(_ material: TLSMaterial) throws -> TLSConfiguration {
        do {
            let chain = try NIOSSLCertificate.fromPEMBytes(material.certificatePEM).map {
                NIOSSLCertificateSource.certificate($0)
            }
            let key = try NIOSSLPrivateKey(bytes: material.keyPEM, format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain,
                privateKey: .privateKey(key)
            )
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            // A peer need not answer close_notify (RFC 8446 §6.1), and many go without. The default is as long as the
            // limit for the whole hub's end, so that one of them would use it all up.
            configuration.shutdownTimeout = .seconds(1)
            return configuration
        } catch {
            throw StartFailure(
                .dataError,
                "the certificate \(material.certificateFile) or its key \(material.keyFile) cannot be used."
            )
        }
    }

    /// Has the server go on, and say so, where nothing more can be opened.
    private func withoutDescriptors(_ channel: any Channel, strangers: Strangers) async {
        let handler = channel.eventLoop.submit {
            try channel.pipeline.syncOperations.addHandler(
                ShortageHandler { strangers.connections.makeRoom() },
                position: .first
            )
        }
        // `try?`: it fails where the server has ended already.
        try? await handler.get()
    }

    private func listening(
        on channel: any Channel,
        site: SiteInformation,
        tls: TLSMaterial?,
        firstAdministrator: OperatorOperations.FirstAdministrator?,
        localToken: String,
        announce: @Sendable (Announcement) -> Void
    ) async {
        let port = channel.localAddress?.port ?? configuration.listenPort
        let host = configuration.listenHost.contains(":") ? "[\(configuration.listenHost)]" : configuration.listenHost
        let address = "\(host):\(port)"
        if configuration.publicURL == nil {
            let isAny = ["0.0.0.0", "::"].contains(configuration.listenHost)
            let name = isAny ? configuration.hostnames.first ?? HubConfiguration.machineName : host
            site.current.publicURL = "\(tls == nil ? "http" : "https")://\(name):\(port)"
        }
        do {
            try directory.write(try JSONEncoder().encode(site.current), to: "hub.json")
            let local = LocalHub(listeningOn: configuration.listenHost, port: port, token: localToken, pin: tls?.pin)
            try directory.write(try JSONEncoder().encode(local), to: LocalHub.fileName)
            // Last: who waits for the address finds all the rest.
            try directory.write(Data((address + "\n").utf8), to: "hub.address", mode: 0o644)
        } catch {
            // The hub serves all the same; only other commands do not learn where.
            logger.error("hub.address not written", metadata: ["error": "\(error)"])
        }
        announce(
            Announcement(
                address: address,
                site: site.current,
                firstAdministrator: firstAdministrator,
                dataDirectory: directory.path
            )
        )
    }

    private func bindFailure(_ error: IOError) -> StartFailure {
        let address = "\(configuration.listenHost):\(configuration.listenPort)"
        switch error.errnoCode {
        case EADDRINUSE:
            return StartFailure(
                .unavailable,
                "cannot listen on \(address): the address is already in use. Stop the other program or choose another --listen."
            )
        case EACCES:
            return StartFailure(
                .unavailable,
                "cannot listen on \(address): not permitted. Choose a port above 1023 or grant the right."
            )
        default:
            return StartFailure(
                .unavailable,
                "cannot listen on \(address): \(String(cString: strerror(error.errnoCode)))."
            )
        }
    }
}
