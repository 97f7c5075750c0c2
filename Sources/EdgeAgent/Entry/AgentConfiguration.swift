import Configuration
import FoundationEssentials
import Glibc
import WebSocketKitLite
import WireFormat

/// What the agent was told: by flag, else by environment variable `EDGE_…`, else by the configuration file.
///
/// A setting has one name in all three: flag `--ca-file`, variable `EDGE_CA_FILE`, file key `"ca_file"`.
struct AgentConfiguration: Sendable {
    /// Every setting; the configuration file may hold no other key. The flag of `hub_url` is `--hub`.
    enum Key: String, CaseIterable {
        case hubURL = "hub_url"
        case token
        case tokenFile = "token_file"
        case stateDirectory = "state_dir"
        case authorityFile = "ca_file"
        case pinSHA256 = "pin_sha256"
        case insecure
        case proxy
        case clientCertificate = "client_cert"
        case clientKey = "client_key"
        case logLevel = "log_level"
        case nativeCommand = "native_command"
        case profiles
        case botUser = "bot_user"
        case launcherRoots = "launcher_roots"
        case dockerSocket = "docker_socket"
        case policyFile = "policy_file"
        case journalBytes = "journal_bytes"
        case journalAge = "journal_age"
    }

    var hubURL: String?
    var token: Secret?
    var stateDirectory: String
    var authorityFile: String?
    var pinSHA256: String?
    /// Allows `ws://` and `http://` to other machines. Never weakens the checks made over TLS.
    var insecure: Bool
    /// The proxy on the way to the hub: the one set here, else what the usual variables (`HTTPS_PROXY`, …) say.
    var proxy: ProxyPolicy
    /// PEM file with the certificate to show to the hub, or to a proxy in front of it, and its chain.
    var clientCertificate: String?
    /// PEM file with its key; nil where that stands in the certificate's file.
    var clientKey: String?
    var logLevel: String
    /// Launch template of the profile `default`.
    var nativeCommand: String?
    /// The user of bots whose profile names none; nil: the agent's own.
    var botUser: String?
    /// The other profiles, see `ProfileFile`.
    var profiles: [RuntimeProfile]
    /// Where an installed launcher is looked for if nobody names one.
    var launcherRoots: [String]
    /// Path of the container engine's Unix socket.
    var dockerSocket: String
    /// Nil: `PolicyFile.defaultPath`, where that exists.
    var policyFile: String?
    /// How many monitor packets are kept while the hub does not take them.
    var packetBudget = Journal.PacketBudget()
    /// Files with secrets of the agent, which no bot may read.
    var secretFiles: [String] = []

    /// Resolves the settings.
    ///
    /// - Parameters:
    ///   - flags: what stood on the command line, by key.
    ///   - file: path given with `--config`; nil reads `/etc/edge-agent/agent.json` where that exists.
    ///   - environment: the process's environment.
    /// - Throws: `AgentError` that names the setting and where it came from.
    init(
        flags: [Key: String],
        file: String?,
        environment: [String: String]
    ) throws(AgentError) {
        let fileValues = try ConfigurationFile.load(file)
        let reader = ConfigReader(providers: [
            InMemoryProvider(values: Self.values(flags)),
            EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "edge"),
            InMemoryProvider(values: Self.values(fileValues)),
        ])
        func text(_ key: Key) -> String? {
            guard let value = reader.string(forKey: ConfigKey([key.rawValue])), !value.isEmpty else { return nil }
            return value
        }
        secretFiles = [text(.tokenFile), text(.clientKey), text(.clientCertificate)].compactMap(\.self)
        secretFiles += Self.filesWithSecrets(fileValues, file ?? ConfigurationFile.defaultPath, text(.profiles))
        hubURL = text(.hubURL)
        token = try Self.token(text(.token), file: text(.tokenFile))
        stateDirectory = text(.stateDirectory) ?? Self.defaultStateDirectory(environment)
        authorityFile = text(.authorityFile)
        pinSHA256 = text(.pinSHA256)
        insecure = try Self.flag(text(.insecure), .insecure)
        proxy = try Self.proxy(text(.proxy), environment)
        clientCertificate = text(.clientCertificate)
        clientKey = text(.clientKey)
        logLevel = text(.logLevel) ?? "info"
        nativeCommand = text(.nativeCommand)
        botUser = text(.botUser)
        profiles = try Self.profiles(text(.profiles))
        launcherRoots =
            text(.launcherRoots)?.split(separator: ":").map(String.init) ?? LauncherSearch.standardRoots
        dockerSocket = text(.dockerSocket) ?? DockerRuntimeBackend.defaultSocket
        policyFile = text(.policyFile)
        if let bytes = try Self.quantity(
            text(.journalBytes),
            .journalBytes,
            ["": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30]
        ) {
            packetBudget.bytes = Int(clamping: bytes)
        }
        let milliseconds: [String: UInt64] = ["ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
        if let age = try Self.quantity(text(.journalAge), .journalAge, milliseconds) { packetBudget.milliseconds = age }
    }

    /// The configuration and the profiles' file, where one bot must not read what they hold: a token, a proxy's
    /// password, the environment of other bots.
    private static func filesWithSecrets(_ settings: [Key: String], _ file: String, _ profiles: String?) -> [String] {
        func hasEnvironment(_ text: String?) -> Bool { text?.contains("\"environment\"") ?? false }
        var files: [String] = []
        let hasSecret = settings[.token] != nil || settings[.proxy] != nil || hasEnvironment(settings[.profiles])
        if hasSecret { files.append(file) }
        // One that cannot be read is told by who reads it in earnest.
        if let profiles, profiles.hasPrefix("/"), let bytes = try? Files.readNamed(profiles),
            hasEnvironment(String(decoding: bytes, as: UTF8.self))
        {
            files.append(profiles)
        }
        return files
    }

    private static func values(_ settings: [Key: String]) -> [AbsoluteConfigKey: ConfigValue] {
        Dictionary(
            uniqueKeysWithValues: settings.map {
                (
                    AbsoluteConfigKey([$0.key.rawValue]),
                    ConfigValue(.string($0.value), isSecret: $0.key == .token || $0.key == .proxy)
                )
            }
        )
    }

    private static func token(_ given: String?, file: String?) throws(AgentError) -> Secret? {
        if let given { return Secret(given) }
        guard let file else { return nil }
        do {
            guard let bytes = try Files.readNamed(file) else {
                throw AgentError(.configuration, "token file \(file) does not exist")
            }
            let text = String(decoding: bytes, as: UTF8.self)
                .split(whereSeparator: \.isWhitespace).first.map(String.init)
            guard let text else { throw AgentError(.configuration, "token file \(file) is empty") }
            return Secret(text)
        } catch let failure as Files.Failure {
            throw AgentError(.configuration, "token file \(file) cannot be read: \(failure.reason)")
        } catch let error as AgentError {
            throw error
        } catch {
            throw AgentError(.software, "\(error)")
        }
    }

    private static func proxy(_ given: String?, _ environment: [String: String]) throws(AgentError) -> ProxyPolicy {
        guard let given else { return .environment(ProxyEnvironment(environment)) }
        guard given != "none" else { return .direct }
        do {
            return .fixed(try Proxy(given))
        } catch {
            throw AgentError(.configuration, error.message)
        }
    }

    /// - Parameter given: the profiles themselves as JSON, or the path of a file that holds them.
    private static func profiles(_ given: String?) throws(AgentError) -> [RuntimeProfile] {
        guard let given else { return [] }
        if given.first(where: { !$0.isWhitespace }) == "{" {
            return try ProfileFile.profiles(given.utf8, source: "\"profiles\"")
        }
        let bytes: [UInt8]?
        do {
            bytes = try Files.readNamed(given)
        } catch {
            throw AgentError(.configuration, "the profiles in \(given) cannot be read: \(error.reason)")
        }
        guard let bytes else { throw AgentError(.configuration, "the file \(given) with the profiles does not exist") }
        return try ProfileFile.profiles(bytes, source: given)
    }

    private static func flag(_ text: String?, _ key: Key) throws(AgentError) -> Bool {
        switch text?.lowercased() {
        case nil, "false", "no", "0": false
        case "true", "yes", "1": true
        case .some(let other):
            throw AgentError(.configuration, "\(key.rawValue) must be true or false, not \"\(other)\"")
        }
    }

    /// A number with one of the units, such as `64M` or `7d`.
    private static func quantity(
        _ text: String?,
        _ key: Key,
        _ units: [String: UInt64]
    ) throws(AgentError) -> UInt64? {
        guard let text else { return nil }
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(decimal: digits), number > 0, let unit = units[String(text.dropFirst(digits.count))],
            case let (value, hasOverflowed) = number.multipliedReportingOverflow(by: unit), !hasOverflowed
        else {
            let known = units.keys.filter { !$0.isEmpty }.sorted().joined(separator: ", ")
            throw AgentError(
                .configuration,
                "\(key.rawValue) must be a number above 0 with a unit (\(known)), not \"\(text)\""
            )
        }
        return value
    }

    /// systemd's `StateDirectory=` where set, `/var/lib/edge-agent` for root, else the user's own state folder.
    private static func defaultStateDirectory(_ environment: [String: String]) -> String {
        if let given = environment["STATE_DIRECTORY"], !given.isEmpty { return given }
        if geteuid() == 0 { return "/var/lib/edge-agent" }
        if let state = environment["XDG_STATE_HOME"], !state.isEmpty { return state + "/edge-agent" }
        return (environment["HOME"] ?? ".") + "/.local/state/edge-agent"
    }
}

/// The JSON file with the agent's settings, for those who prefer a file to variables.
enum ConfigurationFile {
    static let defaultPath = "/etc/edge-agent/agent.json"

    /// - Throws: `AgentError.configuration` for a file that was named and is missing, is no JSON object of plain
    ///   values, or holds an unknown key.
    static func load(_ path: String?) throws(AgentError) -> [AgentConfiguration.Key: String] {
        let bytes: [UInt8]
        do {
            guard let content = try Files.readNamed(path ?? defaultPath) else {
                guard let path else { return [:] }
                throw AgentError(.configuration, "configuration file \(path) does not exist")
            }
            bytes = content
        } catch let failure as Files.Failure {
            throw AgentError(.configuration, "configuration file cannot be read: \(failure.reason)")
        } catch let error as AgentError {
            throw error
        } catch {
            throw AgentError(.software, "\(error)")
        }
        let name = path ?? defaultPath
        let values: [String: Setting]
        if let doubled = JSONFault.doubledName(bytes) {
            throw AgentError(.configuration, "configuration file \(name) says something twice, \(doubled)")
        }
        do {
            values = try OutsideJSON.decode([String: Setting].self, from: bytes)
        } catch {
            if let fault = JSONFault.describe(bytes) {
                throw AgentError(.configuration, "configuration file \(name) is not JSON, \(fault)")
            }
            throw AgentError(
                .configuration,
                "configuration file \(name) must be one JSON object of texts, numbers and true/false; only "
                    + "\"profiles\" may be an object, and \"launcher_roots\" a list"
            )
        }
        var settings: [AgentConfiguration.Key: String] = [:]
        for (text, value) in values {
            guard let key = AgentConfiguration.Key(rawValue: text) else {
                let known = AgentConfiguration.Key.allCases.map(\.rawValue).joined(separator: ", ")
                throw AgentError(
                    .configuration,
                    "configuration file \(name) has the unknown key \"\(text)\"; known: \(known)"
                )
            }
            settings[key] = try value.text(key, name)
        }
        return settings
    }

    /// The value of one key.
    private enum Setting: Decodable {
        case text(String)
        case list([String])
        case structure(ProfileNode)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let flag = try? container.decode(Bool.self) {
                self = .text(flag ? "true" : "false")
            } else if let number = try? container.decode(Int.self) {
                self = .text(String(number))
            } else if let text = try? container.decode(String.self) {
                self = .text(text)
            } else if let list = try? container.decode([String].self) {
                self = .list(list)
            } else {
                self = .structure(try container.decode(ProfileNode.self))
            }
        }

        /// As it would stand in the environment.
        func text(_ key: AgentConfiguration.Key, _ file: String) throws(AgentError) -> String {
            switch (self, key) {
            case (.text(let text), _): return text
            case (.list(let list), .launcherRoots): return list.joined(separator: ":")
            case (.structure(let structure), .profiles):
                do {
                    return String(decoding: try JSONEncoder().encode(structure), as: UTF8.self)
                } catch {
                    throw AgentError(.software, "\(error)")
                }
            default:
                throw AgentError(
                    .configuration,
                    "configuration file \(file): \"\(key.rawValue)\" must be a text, a number or true/false"
                )
            }
        }
    }
}
