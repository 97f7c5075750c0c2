import Configuration
import Foundation
import Glibc
import Logging
import WireFormat
import Yams

/// What a hub is told at its start. Flags win over `HUB_…` environment variables, those over the configuration file.
struct HubConfiguration: Sendable {
    /// An option's name in the file; upper case with `HUB_` before it, it is the variable; with hyphens, the flag.
    enum Option: String, CaseIterable, Sendable {
        case listen, hostname
        case dataDirectory = "data_dir"
        case tlsCertificate = "tls_cert"
        case tlsKey = "tls_key"
        case publicURL = "public_url"
        case hubName = "hub_name"
        case logLevel = "log_level"
        case logFormat = "log_format"
        case insecureHTTP = "insecure_http"
        case heartbeatInterval = "heartbeat_interval"
        case telemetryInterval = "telemetry_interval"
        case degradedAfter = "degraded_after"
        case offlineAfter = "offline_after"
        case closedGrace = "closed_grace"
        case trustedProxies = "trusted_proxies"
        case admissionRate = "admission_rate"
        case admissionBurst = "admission_burst"
        case sessionBurst = "session_burst"
        case sessionInterval = "session_interval"
        case packetRate = "packet_rate"
        case packetBytes = "packet_bytes"
        case messageRate = "message_rate"
        case maxConnections = "max_connections"
        case strangerConnections = "stranger_connections"
        case strangerConnectionsPerAddress = "stranger_connections_per_address"
        case keepLogs = "keep_logs"
        case snapshotsKept = "snapshots_kept"
        case snapshotBytes = "snapshot_bytes"
        case snapshotInterval = "snapshot_interval"
        case snapshotAge = "snapshot_age"
        case keepPackets = "keep_packets"
        case keepMessages = "keep_messages"
        case keepCommands = "keep_commands"
        case keepAudit = "keep_audit"
        case keepAnswers = "keep_answers"
        case keepDeployments = "keep_deployments"
        case keepEnrollments = "keep_enrollments"
        case keepResources = "keep_resources"
        case keepLogsBytes = "keep_logs_bytes"
        case keepLogsAge = "keep_logs_age"
        case retentionInterval = "retention_interval"

        var key: ConfigKey { ConfigKey([rawValue]) }
        var isList: Bool { [.hostname, .trustedProxies].contains(self) }
    }

    var listenHost: String
    var listenPort: Int
    var dataDirectory: String
    var tlsCertificate: String?
    var tlsKey: String?
    var hostnames: [String]
    var publicURL: String?
    var hubName: String
    var logLevel: Logger.Level
    /// `text`, `json`, or by whether standard error is a terminal.
    var logFormat: String?
    var insecureHTTP: Bool
    var thresholds: HealthThresholds
    /// Between two samples of a node's figures; zero: one with each heartbeat.
    var telemetryInterval: Duration
    /// Proxies whose `X-Forwarded-For` is believed.
    var trustedProxies: Set<String>
    var admission: AdmissionGate.Settings
    var connections = ConnectionCensus.Settings()
    /// So many bytes of each bot's log are kept here as well; 0: none.
    var keptLogBytes: Int
    var snapshots = SnapshotBounds()
    /// How much is kept of what grows.
    var retention = RetentionSettings()
    /// What nodes and bots may send.
    var quotas = IntakeQuotas()

    /// Reads the three sources. Throws `StartFailure` naming the option that is wrong.
    ///
    /// - Parameters:
    ///   - flags: what stood on the command line; lists joined by commas.
    ///   - environment: all variables.
    ///   - file: path of the configuration file; where nil, `HUB_CONFIG` names it.
    init(flags: [Option: String], environment: [String: String], file: String?) throws {
        var values: [AbsoluteConfigKey: ConfigValue] = [:]
        for (option, value) in flags {
            let content: ConfigContent =
                option.isList ? .stringArray(Self.list(value)) : .string(value)
            values[AbsoluteConfigKey([option.rawValue])] = ConfigValue(content, isSecret: false)
        }
        var variables: [String: String] = [:]
        for (name, value) in environment where name.hasPrefix("HUB_") && !value.isEmpty {
            variables[String(name.dropFirst(4))] = value
        }
        var providers: [any ConfigProvider] = [
            InMemoryProvider(name: "command line", values: values),
            EnvironmentVariablesProvider(environmentVariables: variables),
        ]
        if let file = file ?? variables["CONFIG"] {
            providers.append(InMemoryProvider(name: file, values: try Self.readFile(file)))
        }
        try self.init(ConfigReader(providers: providers))
    }

    private init(_ reader: ConfigReader) throws {
        func text(_ option: Option) -> String? { reader.string(forKey: option.key) }
        (listenHost, listenPort) = try Self.parseListen(text(.listen) ?? "127.0.0.1:8443")
        dataDirectory = Self.absolute(text(.dataDirectory) ?? Self.defaultDataDirectory)
        tlsCertificate = text(.tlsCertificate)
        tlsKey = text(.tlsKey)
        guard (tlsCertificate == nil) == (tlsKey == nil) else {
            throw StartFailure(.configuration, "tls_cert and tls_key belong together. Give both or neither.")
        }
        hostnames = reader.stringArray(forKey: Option.hostname.key) ?? []
        publicURL = try text(.publicURL).map(Self.parseURL)
        hubName = text(.hubName) ?? Self.machineName
        let level = text(.logLevel) ?? "info"
        guard let logLevel = Logger.Level(rawValue: level.lowercased()) else {
            throw StartFailure(
                .configuration,
                "log_level \"\(level)\" is not known. Give trace, debug, info, notice, warning or error."
            )
        }
        self.logLevel = logLevel
        logFormat = text(.logFormat)
        if let logFormat, !["text", "json"].contains(logFormat) {
            throw StartFailure(.configuration, "log_format \"\(logFormat)\" is not known. Give text or json.")
        }
        insecureHTTP = try Self.parseBool(text(.insecureHTTP) ?? "false", .insecureHTTP)
        func duration(_ option: Option) throws -> Duration? {
            try text(option).map { try Self.parseDuration($0, name: option.rawValue) }
        }
        thresholds = HealthThresholds(
            heartbeatInterval: try duration(.heartbeatInterval) ?? .seconds(15),
            degradedAfter: try duration(.degradedAfter),
            offlineAfter: try duration(.offlineAfter),
            closedGrace: try duration(.closedGrace) ?? .seconds(10)
        )
        telemetryInterval = try duration(.telemetryInterval) ?? .zero
        guard telemetryInterval == .zero || (.seconds(1)...(.seconds(3600))).contains(telemetryInterval) else {
            throw StartFailure(.configuration, "telemetry_interval must lie between 1s and 1h.")
        }
        trustedProxies = Set(reader.stringArray(forKey: Option.trustedProxies.key) ?? [])
        keptLogBytes = try text(.keepLogs).map(Self.parseLogBytes) ?? 0
        admission = AdmissionGate.Settings()
        func count(_ option: Option, from least: Int) throws -> Int? {
            try text(option).map { try Self.parseCount($0, from: least, name: option.rawValue) }
        }
        admission.handshakes.ratePerSecond =
            try count(.admissionRate, from: 0) ?? admission.handshakes.ratePerSecond
        admission.handshakes.burst = try count(.admissionBurst, from: 1) ?? admission.handshakes.burst
        admission.sessionsPerNode = try count(.sessionBurst, from: 1) ?? admission.sessionsPerNode
        admission.sessionInterval = try duration(.sessionInterval) ?? admission.sessionInterval
        quotas.packetsPerSecond = try count(.packetRate, from: 1) ?? quotas.packetsPerSecond
        quotas.messagesPerSecond = try count(.messageRate, from: 10) ?? quotas.messagesPerSecond
        if let bytes = try text(.packetBytes).map({ try Self.parseBytes($0, name: Option.packetBytes.rawValue) }) {
            // A packet may have a mebibyte, and must come through within the longest pause.
            guard (64 << 10...1 << 30).contains(bytes) else {
                throw StartFailure(.configuration, "packet_bytes must lie between 64K and 1G.")
            }
            quotas.packetBytesPerSecond = Int(clamping: bytes)
        }
        connections.total = try count(.maxConnections, from: 64) ?? connections.total
        connections.strangers = try count(.strangerConnections, from: 16) ?? connections.strangers
        connections.strangersPerAddress =
            try count(.strangerConnectionsPerAddress, from: 4) ?? connections.strangersPerAddress
        guard connections.strangers < connections.total else {
            throw StartFailure(
                .configuration,
                "stranger_connections must be smaller than max_connections: the rest is for nodes and operators."
            )
        }
        snapshots.keptPerBot = try count(.snapshotsKept, from: 0) ?? snapshots.keptPerBot
        guard snapshots.keptPerBot <= SnapshotBounds.mostPerBot else {
            throw StartFailure(.configuration, "snapshots_kept must be at most \(SnapshotBounds.mostPerBot).")
        }
        snapshots.totalBytes =
            try text(.snapshotBytes).map { try Self.parseBytes($0, name: "snapshot_bytes") } ?? snapshots.totalBytes
        snapshots.interval = try duration(.snapshotInterval) ?? snapshots.interval
        guard snapshots.interval == .zero || snapshots.interval >= .seconds(60) else {
            throw StartFailure(.configuration, "snapshot_interval must be at least 1m, or 0.")
        }
        for kind in RetentionKind.allCases {
            if let limits = text(.keep(kind)) { try retention[kind].read(limits, of: kind) }
        }
        retention.interval = try duration(.retentionInterval) ?? retention.interval
        guard (.seconds(1)...(.seconds(86_400))).contains(retention.interval) else {
            throw StartFailure(.configuration, "retention_interval must lie between 1s and 24h.")
        }
        retention.resourceAge = try duration(.keepResources) ?? retention.resourceAge
        guard (.seconds(2 * 86_400)...(.seconds(3650 * 86_400))).contains(retention.resourceAge) else {
            throw StartFailure(.configuration, "keep_resources must lie between 2d and 3650d.")
        }
        retention.logBytes =
            try text(.keepLogsBytes).map {
                Int64(clamping: try Self.parseBytes($0, name: Option.keepLogsBytes.rawValue))
            } ?? retention.logBytes
        retention.logAge = try duration(.keepLogsAge) ?? retention.logAge
        retention.snapshotAge = try duration(.snapshotAge) ?? retention.snapshotAge
        guard thresholds.heartbeatInterval >= .milliseconds(100), thresholds.heartbeatInterval <= .seconds(3600) else {
            throw StartFailure(.configuration, "heartbeat_interval must lie between 100ms and 1h.")
        }
        guard thresholds.heartbeatInterval < thresholds.degradedAfter,
            thresholds.degradedAfter < thresholds.offlineAfter
        else {
            throw StartFailure(
                .configuration,
                "heartbeat_interval, degraded_after and offline_after must grow in this order."
            )
        }
    }

    var isLoopback: Bool {
        listenHost == "localhost" || listenHost == "::1" || listenHost.hasPrefix("127.")
    }

    static var machineName: String {
        var buffer = [CChar](repeating: 0, count: 256)
        let isKnown = gethostname(&buffer, buffer.count - 1) == 0
        let name = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return isKnown && !name.isEmpty ? name : "hub"
    }

    private static var defaultDataDirectory: String {
        if getuid() == 0 { return "/var/lib/control-hub" }
        let home = ProcessInfo.processInfo.environment["HOME"] ?? "."
        return home + "/.local/state/control-hub"
    }

    // MARK: Parsing

    private static func readFile(_ path: String) throws -> [AbsoluteConfigKey: ConfigValue] {
        guard let data = NamedFile.read(path) else {
            throw StartFailure(.configuration, "the configuration file \(path) cannot be read.")
        }
        let loaded: Any?
        do {
            loaded = try Yams.load(yaml: String(decoding: data, as: UTF8.self))
        } catch {
            throw StartFailure(.configuration, "the configuration file \(path) is not YAML: \(firstLine(error)).")
        }
        guard let loaded else { return [:] }
        guard let members = loaded as? [String: Any] else {
            throw StartFailure(.configuration, "the configuration file \(path) must hold `key: value` lines.")
        }
        var values: [AbsoluteConfigKey: ConfigValue] = [:]
        for (name, value) in members {
            guard let option = Option(rawValue: name.replacingOccurrences(of: "-", with: "_")) else {
                let known = Option.allCases.map(\.rawValue).sorted().joined(separator: ", ")
                throw StartFailure(.configuration, "\(path): the key \"\(name)\" is not known. Known are \(known).")
            }
            let content: ConfigContent
            switch value {
            case let list as [Any] where option.isList: content = .stringArray(list.map { "\($0)" })
            case let text as String: content = option.isList ? .stringArray(Self.list(text)) : .string(text)
            case let number as Int: content = .string(String(number))
            case let truth as Bool: content = .string(truth ? "true" : "false")
            default:
                throw StartFailure(.configuration, "\(path): the value of \"\(name)\" has the wrong type.")
            }
            values[AbsoluteConfigKey([option.rawValue])] = ConfigValue(content, isSecret: false)
        }
        return values
    }

    private static func firstLine(_ error: any Error) -> String {
        "\(error)".split(separator: "\n").first.map(String.init) ?? "unknown fault"
    }

    private static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    private static func parseListen(_ text: String) throws -> (String, Int) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(decimal: text[text.index(after: colon)...]),
            (0...65535).contains(port)
        else {
            throw StartFailure(.configuration, "listen \"\(text)\" must be an address and a port, like 127.0.0.1:8443.")
        }
        let host = text[..<colon].trimmingCharacters(in: CharacterSet(charactersIn: "[]"))
        return (host.isEmpty ? "0.0.0.0" : host, port)
    }

    private static func parseURL(_ text: String) throws -> String {
        guard let url = URL(string: text), let scheme = url.scheme, ["http", "https"].contains(scheme),
            url.host() != nil
        else {
            throw StartFailure(.configuration, "public_url \"\(text)\" must look like https://hub.example.")
        }
        guard url.path().allSatisfy({ $0 == "/" }), url.query() == nil, url.fragment() == nil, url.user() == nil else {
            throw StartFailure(
                .configuration,
                "public_url \"\(text)\" must be a host alone: the page and its files are served from the host's root and "
                    + "below no path. Give the hub a host name or a port of its own, such as https://hub.example."
            )
        }
        return String(text.reversed().drop { $0 == "/" }.reversed())
    }

    private static func parseBool(_ text: String, _ option: Option) throws -> Bool {
        switch text.lowercased() {
        case "true", "yes", "1", "on": return true
        case "false", "no", "0", "off": return false
        default: throw StartFailure(.configuration, "\(option.rawValue) must be true or false, not \"\(text)\".")
        }
    }

    /// Reads 500ms, 15s, 10m, 24h; a bare number counts seconds.
    static func parseDuration(
        _ text: String,
        name: String,
        otherwise code: HubExitCode = .configuration
    ) throws -> Duration {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let factors: [String: Int64] = ["ms": 1, "": 1000, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
        guard let number = Int64(decimal: digits), number <= 1_000_000_000,
            let factor = factors[String(text.dropFirst(digits.count))]
        else {
            throw StartFailure(code, "\(name) \"\(text)\" must be a time like 500ms, 15s, 10m or 24h.")
        }
        return .milliseconds(clamping: number * factor)
    }

    static func parseCount(_ text: String, from least: Int, name: String) throws -> Int {
        guard let number = Int(decimal: text), number >= least, number <= 1_000_000 else {
            throw StartFailure(.configuration, "\(name) \"\(text)\" must be a whole number from \(least) to 1000000.")
        }
        return number
    }

    /// Reads the size of a bot's kept log; `off` is 0.
    private static func parseLogBytes(_ text: String) throws -> Int {
        if ["0", "off"].contains(text.lowercased()) { return 0 }
        let bytes = try parseBytes(text, name: Option.keepLogs.rawValue)
        guard (1 << 20...1 << 40).contains(bytes) else {
            throw StartFailure(
                .configuration,
                "keep_logs \"\(text)\" must be off, or a size for each bot's log from 1M to 1T."
            )
        }
        return Int(clamping: bytes)
    }

    /// Reads 500M, 10G, 1T; a bare number counts bytes.
    static func parseBytes(_ text: String, name: String) throws -> UInt64 {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let shifts: [String: UInt64] = ["": 0, "k": 10, "m": 20, "g": 30, "t": 40]
        let unit = text.dropFirst(digits.count).lowercased()
        guard let number = UInt64(decimal: digits), number <= 1 << 40, let shift = shifts[unit],
            number <= UInt64.max >> shift
        else {
            throw StartFailure(.configuration, "\(name) \"\(text)\" must be a size like 500M, 10G or 1T.")
        }
        return number << shift
    }

    private static func absolute(_ path: String) -> String {
        URL(fileURLWithPath: path).standardizedFileURL.path
    }
}
