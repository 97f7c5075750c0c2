import WireFormat

/// The body of `POST /containers/create`.
struct ContainerSpecification: Encodable, Sendable, Equatable {
    struct Empty: Encodable, Sendable, Equatable {}

    struct PortBinding: Encodable, Sendable, Equatable {
        var hostIP: String
        var hostPort: String

        enum CodingKeys: String, CodingKey {
            case hostIP = "HostIp"
            case hostPort = "HostPort"
        }
    }

    struct Mount: Encodable, Sendable, Equatable {
        var type = "bind"
        var source: String
        var target: String
        var isReadOnly: Bool

        enum CodingKeys: String, CodingKey {
            case type = "Type"
            case source = "Source"
            case target = "Target"
            case isReadOnly = "ReadOnly"
        }
    }

    struct Ulimit: Encodable, Sendable, Equatable {
        var name: String
        var soft: UInt64
        var hard: UInt64

        enum CodingKeys: String, CodingKey {
            case name = "Name"
            case soft = "Soft"
            case hard = "Hard"
        }
    }

    struct LogConfig: Encodable, Sendable, Equatable {
        var type: String
        var config: [String: String]

        enum CodingKeys: String, CodingKey {
            case type = "Type"
            case config = "Config"
        }
    }

    struct RestartPolicy: Encodable, Sendable, Equatable {
        var name: String

        enum CodingKeys: String, CodingKey {
            case name = "Name"
        }
    }

    struct Host: Encodable, Sendable, Equatable {
        var networkMode: String
        var portBindings: [String: [PortBinding]]?
        var mounts: [Mount]
        var tmpfs: [String: String]
        var readonlyRootfs: Bool
        var capDrop = ["ALL"]
        var capAdd: [String]
        var securityOpt: [String]
        var initProcess: Bool
        var memory: UInt64?
        var memorySwap: UInt64?
        var nanoCPUs: UInt64?
        var pidsLimit: UInt64?
        var ulimits: [Ulimit]?
        var logConfig: LogConfig
        /// The agent decides what follows an end.
        var restartPolicy = RestartPolicy(name: "no")

        enum CodingKeys: String, CodingKey {
            case networkMode = "NetworkMode"
            case portBindings = "PortBindings"
            case mounts = "Mounts"
            case tmpfs = "Tmpfs"
            case readonlyRootfs = "ReadonlyRootfs"
            case capDrop = "CapDrop"
            case capAdd = "CapAdd"
            case securityOpt = "SecurityOpt"
            case initProcess = "Init"
            case memory = "Memory"
            case memorySwap = "MemorySwap"
            case nanoCPUs = "NanoCpus"
            case pidsLimit = "PidsLimit"
            case ulimits = "Ulimits"
            case logConfig = "LogConfig"
            case restartPolicy = "RestartPolicy"
        }
    }

    var image: String
    /// Nil for the image's own.
    var command: [String]?
    var environment: [String]
    var workingDirectory = ContainerPaths.home
    /// `uid:gid`
    var user: String
    var labels: [String: String]
    var exposedPorts: [String: Empty]?
    var host: Host

    enum CodingKeys: String, CodingKey {
        case image = "Image"
        case command = "Cmd"
        case environment = "Env"
        case workingDirectory = "WorkingDir"
        case user = "User"
        case labels = "Labels"
        case exposedPorts = "ExposedPorts"
        case host = "HostConfig"
    }
}

/// Where a bot's own things are inside its container.
enum ContainerPaths {
    /// Its home and working directory.
    static let home = "/bot"
    static let config = "/bot/config.json"
    static let workspace = "/bot/workspace"
}

/// How an agent knows its containers.
enum ContainerLabels {
    /// Tells agents that share an engine apart.
    static let instance = "edge-agent.instance"
    static let bot = "edge-agent.bot-id"
    static let launch = "edge-agent.launch-id"
    /// For an agent that has lost its records.
    static let profile = "edge-agent.profile"
    static let epoch = "edge-agent.placement-epoch"
}

extension ContainerSpecification {
    /// The container of one launch.
    ///
    /// - Parameters:
    ///   - plan: with the whole environment of the bot.
    ///   - home: the node's directory that is the bot's home.
    ///   - user: `uid:gid` the bot runs as.
    init(
        _ request: LaunchRequest,
        _ settings: ContainerSettings,
        plan: LaunchPlan,
        directory: BotDirectory,
        home: String,
        user: String,
        instance: String
    ) {
        let profile = request.profile
        let words = profile.command.filled([
            "config": ContainerPaths.config, "workspace": ContainerPaths.workspace, "bot_id": request.botID,
            "port": String(request.chatPort),
        ])
        image = settings.image
        command = words.isEmpty ? nil : words
        environment = plan.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        self.user = user
        labels = [
            ContainerLabels.instance: instance, ContainerLabels.bot: request.botID,
            ContainerLabels.launch: request.launchID, ContainerLabels.profile: profile.name,
            ContainerLabels.epoch: String(request.placementEpoch),
        ]
        var mounts = [
            Mount(source: home, target: ContainerPaths.home, isReadOnly: false),
            Mount(source: directory.config, target: ContainerPaths.config, isReadOnly: true),
            Mount(source: directory.workspace, target: ContainerPaths.workspace, isReadOnly: false),
        ]
        mounts += settings.mounts.map { Mount(source: $0.source, target: $0.target, isReadOnly: $0.isReadOnly) }
        host = Host(
            networkMode: settings.network,
            mounts: mounts,
            tmpfs: ["/tmp": "size=\(settings.temporaryBytes),mode=1777"],
            readonlyRootfs: settings.hasReadOnlyRoot,
            capAdd: settings.capabilities,
            securityOpt: settings.allowsNewPrivileges ? [] : ["no-new-privileges"],
            initProcess: settings.hasInit,
            logConfig: LogConfig(
                type: "json-file",
                config: [
                    "max-size": String(max(1 << 20, profile.logLimits.segmentBytes)),
                    "max-file": String(max(2, profile.logLimits.segmentCount)),
                ]
            )
        )
        if settings.hasNetwork, !settings.usesHostNetwork {
            // Seen by the node's own programs, by nobody else.
            let port = "\(request.chatPort)/tcp"
            exposedPorts = [port: Empty()]
            host.portBindings = [port: [PortBinding(hostIP: "127.0.0.1", hostPort: String(request.chatPort))]]
        }
        let limits = profile.limits
        host.memory = limits.memoryBytes
        // Memory and swap together: none beyond the memory itself.
        host.memorySwap = limits.memoryBytes
        host.nanoCPUs = limits.cpuMilli.map { $0.clampedMultiplied(by: 1_000_000) }
        host.pidsLimit = limits.pids
        host.ulimits = limits.openFiles.map { [Ulimit(name: "nofile", soft: $0, hard: $0)] }
    }
}
