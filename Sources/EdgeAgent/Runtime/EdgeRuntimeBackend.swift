import WireFormat

/// A way to run bots. Backends know processes, containers and files; what should run, when to try again and which
/// messages were delivered is decided above them, by `BotFleet`, which knows nothing of what a backend is made of.
///
/// Every launch outlives the agent: a new agent gets its handle again by `adopt`. What a launch prints and how it ends
/// is found in the bot's log (`logs`), as records of `LogRecord`; the first of a launch is the event `started`, the last
/// one `exited`, see `SupervisorEvent`. Whoever writes the log holds the bot's lock (`BotDirectory.takeLock`).
///
/// `RuntimeBackendContractTests` holds what every backend must do.
protocol EdgeRuntimeBackend: Sendable {
    var kind: BackendKind { get }

    /// What it has to say about single bots right now; nil for a backend that never has.
    var notes: LaunchNotes? { get }

    /// Whether bots of this profile can be started here, and if not, why.
    func probe(_ profile: RuntimeProfile) async -> WireRuntimeProfile

    /// Makes the bot's directories and writes its configuration. An empty `configuration` keeps the one that is there.
    ///
    /// - Returns: whether the stored configuration says something else now.
    /// - Throws: `configurationNotJSON`, `storageFailed`, or `profileNotUsable` where the profile's user is not known.
    @discardableResult
    func prepare(botID: String, configuration: [UInt8], profile: RuntimeProfile) async throws(RuntimeError) -> Bool

    /// Brings onto the node what the profile's bots are made of, such as an image, and may take minutes over it. `notes`
    /// tell how far it has come. Ends early when cancelled.
    func provision(botID: String, profile: RuntimeProfile) async throws(RuntimeError)

    /// Whether `provision` would work, as far as that can be known without doing it.
    func checkProvision(_ profile: RuntimeProfile) async throws(RuntimeError)

    /// Starts a launch. What becomes of it stands in the bot's log.
    func start(_ request: LaunchRequest) async throws(RuntimeError) -> LaunchHandle

    /// The bots this machine holds by the files of their last launch, whether or not anybody knows of them.
    func leftovers() async -> [LaunchRemains]

    /// The bots that have a workspace on this machine with something in it.
    func workspaces() async -> [String]

    /// The launches whose files may be gone, by what carries them out itself.
    ///
    /// - Throws: where that cannot be told just now.
    func strays() async throws(RuntimeError) -> [LaunchRemains]

    /// The launch that still runs, or nil.
    func adopt(botID: String) async -> LaunchHandle?

    /// Asks a launch to stop: the steps of the sequence, then SIGKILL to everything it started. Returns at once.
    func stop(_ handle: LaunchHandle, sequence: StopSequence) async

    /// Ends whoever carries out the launch and everything it started, without asking.
    func kill(_ handle: LaunchHandle) async

    /// Returns once the launch is over, or when cancelled.
    func waitUntilEnded(_ handle: LaunchHandle) async

    /// The launch is over and its log does not say how. Ends what is left of it, finds out how it ended, and writes that
    /// into the log.
    ///
    /// - Returns: what was written, also where the log could not take it; `lost` where the exit status is not known. Nil
    ///   where it was cancelled, or somebody else carries out a launch of this bot: nothing is known then.
    func finishLost(botID: String, launchID: String) async -> SupervisorEvent?

    /// How the launch is doing. Nil where none runs.
    func status(botID: String) async -> LaunchStatus?

    /// Over which processes and control groups the use of a launch is counted, by Telemetry and for every backend alike;
    /// nil where they cannot be seen from here.
    func usage(_ handle: LaunchHandle) async -> BotProcessRoot?

    /// What the launch uses, where only the backend can tell because `usage` sees no processes; nil otherwise.
    func measuredUsage(_ handle: LaunchHandle) async -> WireBotUsage?

    /// Hands a request to the bot's chat endpoint.
    ///
    /// - Parameter url: as the bot named it; nil for the one the contract gives it.
    func deliver(_ handle: LaunchHandle, url: String?, body: [UInt8], timeout: Duration) async throws(BotChatError)
        -> BotChatAnswer

    /// Writes one line to the standard input of a bot whose profile delivers there.
    ///
    /// - Throws: `notConnected` where the bot certainly did not get it.
    func write(_ line: [UInt8], to handle: LaunchHandle, timeout: Duration) async throws(BotChatError)

    /// Whether the bot's chat endpoint says it is well.
    func isHealthy(_ handle: LaunchHandle, chatURL: String?) async -> Bool

    /// The directory that holds the bot's log.
    func logs(botID: String) throws(RuntimeError) -> String

    /// Forgets the bot; what is named stays.
    func remove(botID: String, keeping kept: BotRemains) async throws(RuntimeError)
}

extension EdgeRuntimeBackend {
    var notes: LaunchNotes? { nil }

    func strays() async throws(RuntimeError) -> [LaunchRemains] { [] }

    func workspaces() -> [String] { [] }

    func provision(botID: String, profile: RuntimeProfile) async throws(RuntimeError) {}

    func checkProvision(_ profile: RuntimeProfile) async throws(RuntimeError) {}

    func measuredUsage(_ handle: LaunchHandle) async -> WireBotUsage? { nil }

    func write(_ line: [UInt8], to handle: LaunchHandle, timeout: Duration) async throws(BotChatError) {
        throw .notConnected("bots of the backend \(kind.rawValue) take no messages on standard input")
    }
}

/// What a backend needs to know to launch a bot.
struct LaunchRequest: Sendable {
    var botID: String
    var name: String
    /// Random, names this launch.
    var launchID: String
    var profile: RuntimeProfile
    /// Reserved for the bot on the loopback interface of this machine.
    var chatPort: UInt16
    /// On trial: ends with its lease (`RuntimeLease`) where the backend can see to that without the agent. The fleet
    /// itself ends launches that have no supervisor.
    var isLeased = false
    /// Under which the bot was placed here.
    var placementEpoch: UInt64 = 0
}

/// What is known of a bot's last launch without any record of the bot.
struct LaunchRemains: Sendable {
    var botID: String
    var name: String
    var profile: String
    var placementEpoch: UInt64
    var launchID: String
    var chatPort: UInt16
}

extension LaunchRemains {
    /// What the files beneath `<state>/bots` tell of launches of one kind.
    static func written(beneath root: String, by backend: BackendKind) -> [LaunchRemains] {
        DirectoryNames.list(root).compactMap { name in
            guard let directory = try? BotDirectory(root: root, botID: name), let plan = directory.readPlan(),
                plan.backend == backend
            else { return nil }
            return LaunchRemains(botID: name, plan)
        }
    }

    init(botID: String, _ plan: LaunchPlan) {
        self.init(
            botID: botID,
            name: plan.environment["BOT_NAME", default: ""],
            profile: plan.profile,
            placementEpoch: plan.placementEpoch,
            launchID: plan.launchID,
            chatPort: UInt16(decimal: plan.environment["BOT_CHAT_PORT", default: ""]) ?? 0
        )
    }
}

/// One running launch. Only its backend looks inside.
struct LaunchHandle: Sendable, Equatable {
    /// What carries out a launch.
    enum Carrier: Sendable, Hashable {
        /// The bot's supervisor; it ends after everything the bot started has ended.
        case process(ProcessIdentity)
        case container(id: String)
    }

    var botID: String
    var launchID: String
    var carrier: Carrier

    /// The bot's supervisor, where the launch has one.
    var supervisor: ProcessIdentity? {
        if case .process(let identity) = carrier { identity } else { nil }
    }
}

/// How a launch is doing.
struct LaunchStatus: Sendable, Equatable {
    var handle: LaunchHandle
    /// The bot's own process, as this machine numbers it.
    var bot: ProcessIdentity?
    /// Directories of the control groups that hold the bot and everything it started, and nothing else; by controller,
    /// and `unified` for version 2. Empty where there are none.
    var controlGroups: [String: String] = [:]
}

/// The backends of this node, by kind.
struct RuntimeBackends: Sendable {
    private let backends: [BackendKind: any EdgeRuntimeBackend]

    init(_ backends: [any EdgeRuntimeBackend]) {
        self.backends = Dictionary(backends.map { ($0.kind, $0) }) { first, _ in first }
    }

    var all: [any EdgeRuntimeBackend] { Array(backends.values) }

    subscript(kind: BackendKind) -> (any EdgeRuntimeBackend)? { backends[kind] }

    /// Of those that have any.
    var notes: [LaunchNotes] { backends.values.compactMap(\.notes) }

    /// - Throws: `profileNotUsable` where this agent has no such backend.
    func require(_ kind: BackendKind) throws(RuntimeError) -> any EdgeRuntimeBackend {
        guard let backend = backends[kind] else {
            throw RuntimeError(.profileNotUsable, "this agent has no backend \"\(kind.rawValue)\"")
        }
        return backend
    }

    /// Whether the profile can be used here, and if not, why.
    func probe(_ profile: RuntimeProfile) async -> WireRuntimeProfile {
        do {
            return try await require(profile.backend).probe(profile)
        } catch {
            var answer = profile.wire
            answer.reason = error.message
            return answer
        }
    }
}
