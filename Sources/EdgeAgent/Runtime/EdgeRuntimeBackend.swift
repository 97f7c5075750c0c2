import WireFormat

/// A way to run bots. Backends know processes and files; what should run, when to try again and which messages were
/// delivered is decided above them, by `BotFleet`.
///
/// Every launch outlives the agent: a new agent gets its handle again by `adopt`.
protocol EdgeRuntimeBackend: Sendable {
    /// `native` or `docker`, as told to the hub.
    var kind: String { get }

    /// Whether bots of this profile can be started here, and if not, why.
    func probe(_ profile: RuntimeProfile) async -> WireRuntimeProfile

    /// Makes the bot's directories and writes its configuration. An empty `configuration` keeps the one that is there.
    ///
    /// - Returns: whether the stored configuration is another one now.
    @discardableResult
    func prepare(botID: String, configuration: [UInt8]) async throws(RuntimeError) -> Bool

    /// Chooses a chat port on the loopback interface: the preferred one unless it is 0 or in use.
    func reservePort(preferred: UInt16, avoiding: Set<UInt16>) async throws(RuntimeError) -> UInt16

    /// Starts a launch. What becomes of it stands in the bot's log.
    func start(_ request: LaunchRequest) async throws(RuntimeError) -> LaunchHandle

    /// The launch that still runs, or nil.
    func adopt(botID: String) async -> LaunchHandle?

    /// Asks a launch to stop: SIGTERM, `grace`, SIGKILL to everything it started. Returns at once.
    func stop(_ handle: LaunchHandle, grace: Duration) async

    /// Ends whoever carries out the launch and everything it started, without asking.
    func kill(_ handle: LaunchHandle) async

    /// Returns once the launch is over, or when cancelled.
    func waitUntilEnded(_ handle: LaunchHandle) async

    /// Ends what is left of a launch whose supervisor died without a word, and writes its end into the log.
    func finishLost(botID: String, launchID: String) async

    /// How the launch is doing. Nil where it does not run.
    func status(botID: String) async -> LaunchHandle?

    /// Over which processes and control groups the use of a launch is counted, by Telemetry and for every backend alike;
    /// nil where they cannot be seen from here.
    func usage(_ handle: LaunchHandle) async -> BotProcessRoot?

    /// Hands a request to the bot's chat endpoint.
    func deliver(_ handle: LaunchHandle, url: String?, body: [UInt8], timeout: Duration) async throws(BotChatError)
        -> BotChatAnswer

    /// Whether the bot's chat endpoint says it is well.
    func isHealthy(_ handle: LaunchHandle, chatURL: String?) async -> Bool

    /// Where the bot's log files are.
    func logDirectory(botID: String) throws(RuntimeError) -> String

    /// Forgets the bot; its workspace stays if asked.
    func remove(botID: String, keepWorkspace: Bool) async throws(RuntimeError)
}

/// What a backend needs to know to launch a bot.
struct LaunchRequest: Sendable {
    var botID: String
    var name: String
    var launchID: String
    var profile: RuntimeProfile
    var chatPort: UInt16
}

/// One running launch.
struct LaunchHandle: Sendable, Equatable {
    var botID: String
    var launchID: String
    /// The process that carries out the launch; it ends after everything the bot started has ended.
    var supervisor: ProcessIdentity
}
