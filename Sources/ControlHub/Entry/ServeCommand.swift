import ArgumentParser
import Foundation
import Logging
import ServiceReport

/// `control-hub serve`.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the hub.",
        discussion: """
            Every option can also be given as an environment variable (--data-dir is HUB_DATA_DIR) and in the \
            configuration file (data_dir: …). Flags win over variables, variables over the file.

            Ends with 64 for a wrong command line, 65 for a damaged certificate or database, 69 for an address that \
            cannot be listened on, 73 for a data directory that cannot be used, 74 for a full disk, 75 when another hub \
            uses the data directory, 78 for a wrong configuration.
            """
    )

    @OptionGroup var common: CommonOptions

    @Option(help: "Address and port to listen on; port 0 takes a free one. (default: 127.0.0.1:8443)")
    var listen: String?

    @Option(help: "Certificate chain in PEM form. Without it the hub makes a private authority and a certificate.")
    var tlsCert: String?

    @Option(help: "The certificate's private key in PEM form.")
    var tlsKey: String?

    @Option(help: "A further name or address the hub is reached by; goes into its certificate. Can be repeated.")
    var hostname: [String] = []

    @Option(help: "Where operators and agents reach the hub, for example https://hub.example.")
    var publicUrl: String?

    @Option(help: "What the hub calls itself. (default: the machine's name)")
    var hubName: String?

    @Option(help: "trace, debug, info, notice, warning or error. (default: info)")
    var logLevel: String?

    @Option(help: "text or json. (default: text on a terminal, json otherwise)")
    var logFormat: String?

    @Flag(help: "Serve plain HTTP, for a proxy on this machine that does TLS.")
    var insecureHttp = false

    @Option(help: "How often agents report. (default: 15s)")
    var heartbeatInterval: String?

    @Option(help: "How often nodes tell what they and their bots use. (default: with each report)")
    var telemetryInterval: String?

    @Option(help: "Silence after which a node is degraded. (default: 2 intervals)")
    var degradedAfter: String?

    @Option(help: "Silence after which a node is offline. (default: 3 intervals)")
    var offlineAfter: String?

    @Option(help: "How long a closed connection may take to come back before the node is offline. (default: 10s)")
    var closedGrace: String?

    @Option(help: "Address of a proxy whose X-Forwarded-For is believed, besides this machine's. Can be repeated.")
    var trustedProxy: [String] = []

    @Option(help: "Nodes that may connect a second; the others are told when to come back. 0: all. (default: 100)")
    var admissionRate: String?

    @Option(help: "Nodes that may connect at once after a quiet time. (default: 200)")
    var admissionBurst: String?

    @Option(help: "Sessions one node may open at once before it is told to slow down. (default: 20)")
    var sessionBurst: String?

    @Option(help: "After that, one session each. (default: 5s)")
    var sessionInterval: String?

    @Option(help: "Connections of all kinds. (default: 20000, or as many as the system lets the hub have)")
    var maxConnections: String?

    @Option(help: "Connections that have not signed in, among them; older ones make room. (default: 1024)")
    var strangerConnections: String?

    @Option(help: "The same, of one address. (default: 256)")
    var strangerConnectionsPerAddress: String?

    @Option(help: "Keep so much of each bot's log here too, for when its node is away: 64M, 1G. (default: off)")
    var keepLogs: String?

    @OptionGroup(title: "What is kept") var retention: RetentionOptions

    func run() async throws {
        var flags = common.flags.merging(retention.flags) { $1 }
        flags[.listen] = listen
        flags[.tlsCertificate] = tlsCert
        flags[.tlsKey] = tlsKey
        flags[.hostname] = hostname.isEmpty ? nil : hostname.joined(separator: ",")
        flags[.publicURL] = publicUrl
        flags[.hubName] = hubName
        flags[.logLevel] = logLevel
        flags[.logFormat] = logFormat
        flags[.insecureHTTP] = insecureHttp ? "true" : nil
        flags[.heartbeatInterval] = heartbeatInterval
        flags[.telemetryInterval] = telemetryInterval
        flags[.degradedAfter] = degradedAfter
        flags[.offlineAfter] = offlineAfter
        flags[.closedGrace] = closedGrace
        flags[.trustedProxies] = trustedProxy.isEmpty ? nil : trustedProxy.joined(separator: ",")
        flags[.admissionRate] = admissionRate
        flags[.admissionBurst] = admissionBurst
        flags[.sessionBurst] = sessionBurst
        flags[.sessionInterval] = sessionInterval
        flags[.maxConnections] = maxConnections
        flags[.strangerConnections] = strangerConnections
        flags[.strangerConnectionsPerAddress] = strangerConnectionsPerAddress
        flags[.keepLogs] = keepLogs
        let configuration = try common.read(flags)
        HubLogging.bootstrap(level: configuration.logLevel, format: configuration.logFormat)
        let logger = Logger(label: HubLogging.label)
        let isAttended = LogDestination.standardError == .terminal
        do {
            let directory = try DataDirectory(path: configuration.dataDirectory)
            if let note = OpenDirectory.note(on: directory.path, called: "data directory") { logger.warning("\(note)") }
            try await HubAssembly(configuration: configuration, directory: directory, logger: logger)
                .serve(makingLoginLink: isAttended) { announcement in
                    ServiceManager.notify("READY=1\nSTATUS=Listens on \(announcement.address)")
                    if isAttended { Self.show(announcement) } else { Self.log(announcement, logger) }
                }
        } catch {
            let failure = StartFailure(error, dataDirectory: configuration.dataDirectory)
            if isAttended { throw failure }
            // In the log's own format.
            logger.error("\(failure.message)")
            throw ExitCode(failure.code.rawValue)
        }
    }

    /// For the person who started the hub, with what lets them in. Standard error, because only that is known to be a terminal.
    private static func show(_ announcement: HubAssembly.Announcement) {
        func strong(_ text: String) -> String { "\u{1B}[1m\(text)\u{1B}[0m" }
        let site = announcement.site
        var lines = [
            strong("ControlHub \(HubVersion.version) is ready."),
            "  address      \(announcement.address)",
            "  dashboard    \(site.publicURL)/",
            "  data         \(announcement.dataDirectory)",
        ]
        if let caFile = site.caFile, let pin = site.pin {
            lines += ["  authority    \(caFile)", "  pin-sha256   \(pin)"]
        }
        if let first = announcement.firstAdministrator, let token = first.loginToken {
            lines += [
                "", "Sign in as \(first.name) with this link; it works once, within 24 hours:",
                "  " + strong("\(site.publicURL)/login#\(token)"),
            ]
        }
        lines += [
            "", "Add a node:   control-hub enrollment create --data-dir \(announcement.dataDirectory)",
            "Add a person: control-hub operator add NAME --role operator --data-dir \(announcement.dataDirectory)",
        ]
        LogDestination.standardError.write(lines.joined(separator: "\n"), at: .notice)
    }

    /// For a log, which keeps what is written and is read by more people than may sign in: how to get a link, and none.
    private static func log(_ announcement: HubAssembly.Announcement, _ logger: Logger) {
        let site = announcement.site
        var facts: Logger.Metadata = [
            "version": "\(HubVersion.version)", "address": "\(announcement.address)",
            "dashboard": "\(site.publicURL)/", "data_dir": "\(announcement.dataDirectory)",
        ]
        if let caFile = site.caFile, let pin = site.pin {
            facts["ca_file"] = "\(caFile)"
            facts["pin_sha256"] = "\(pin)"
        }
        logger.info("hub started", metadata: facts)
        guard let first = announcement.firstAdministrator else { return }
        logger.notice(
            """
            Nobody has signed in yet. For a login link run on this machine: control-hub operator login-link \
            \(first.name) --data-dir \(announcement.dataDirectory)
            """
        )
    }
}

/// What every command that touches the data directory takes.
struct CommonOptions: ParsableArguments {
    @Option(help: "Configuration file (YAML).", completion: .file())
    var config: String?

    @Option(
        help: "Directory of the hub's data. (default: /var/lib/control-hub for root, else ~/.local/state/control-hub)",
        completion: .directory
    )
    var dataDir: String?

    var flags: [HubConfiguration.Option: String] {
        var flags: [HubConfiguration.Option: String] = [:]
        flags[.dataDirectory] = dataDir
        return flags
    }

    func read(_ flags: [HubConfiguration.Option: String]) throws -> HubConfiguration {
        try HubConfiguration(flags: flags, environment: ProcessInfo.processInfo.environment, file: config)
    }

    /// Opens the hub's data beside a hub that may be serving.
    ///
    /// - Parameter isAlone: the caller has locked the directory for itself.
    func open(isAlone: Bool = false) throws -> HubParts {
        let configuration = try read(flags)
        let directory = try DataDirectory(existing: configuration.dataDirectory)
        do {
            let site: HubServices.Site
            if let data = try directory.read("hub.json"),
                // `try?`: the fallback follows
                let stored = try? OutsideJSON.decode(HubServices.Site.self, from: data)
            {
                site = stored
            } else {
                site = HubServices.Site(
                    hubName: configuration.hubName,
                    publicURL: configuration.publicURL ?? "https://HUB:8443",
                    isTLS: true
                )
            }
            let database = try HubDatabase(
                path: directory.file(HubDatabase.fileName),
                isShared: !isAlone && directory.isServed
            )
            return HubParts(
                database: database,
                key: try directory.key(),
                thresholds: configuration.thresholds,
                // The time that the hub goes by, whatever the machine's clock says.
                clock: JudgedClock(after: try ClockStore(database: database).read()).hubClock(),
                site: SiteInformation(site),
                logger: Logger(label: HubLogging.label)
            )
        } catch {
            throw StartFailure(error, dataDirectory: directory.path)
        }
    }
}
