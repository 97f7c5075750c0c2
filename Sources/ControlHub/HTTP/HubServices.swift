import Foundation
import Logging

/// Everything the routes may use.
struct HubServices: Sendable {
    let nodes: NodeOperations
    let bots: BotOperations
    let commands: CommandOperations
    let packets: MonitorPacketOperations
    let messages: MessageStore
    let deployments: DeploymentOperations
    let logs: LogOperations
    let workspaces: WorkspaceOperations
    let retention: RetentionOperations
    let streams: ServerSentEvents
    let enrollments: EnrollmentOperations
    let operators: OperatorOperations
    let audit: AuditStore
    let events: EventFeed
    let channel: any AgentChannel
    let idempotency: IdempotencyStore
    let limiter: AccessLimiter
    let strangers: Strangers
    let metrics: RequestMetrics
    let startedAt: Date
    let clock: HubClock
    let siteInformation: SiteInformation
    /// Proxies whose `X-Forwarded-For` is believed.
    let trustedProxies: Set<String>
    let logger: Logger

    var site: Site { siteInformation.current }

    /// How the hub is reached and called.
    struct Site: Sendable, Codable {
        var hubName: String
        /// Behind which pages and agents find the hub, without a slash at the end.
        var publicURL: String
        /// Cookies are marked Secure.
        var isTLS: Bool
        /// The path of the private authority's certificate and its SPKI pin; nil where another certificate is used.
        var caFile: String?
        var pin: String?

        /// The command that pairs an agent; `again` where it is a node already.
        func enrollCommand(code: String, again: Bool = false) -> String {
            "edge-agent enroll\(again ? " --again" : "") --hub \(publicURL) --code \(code)" + trustOption
        }

        /// The command that runs an agent with a token that is ready.
        func runCommand(token: String) -> String {
            "edge-agent run --hub \(publicURL) --token \(token)" + trustOption
        }

        private var trustOption: String { pin.map { " --pin-sha256 \($0)" } ?? "" }
    }
}

/// What this program is.
enum HubVersion {
    static let version = "0.1.0"
    static let api = 1
    static let nodeProtocol = 1
}
