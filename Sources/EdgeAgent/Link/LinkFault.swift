import WebSocketKitLite
import WireFormat

/// Which side a missing link is to be looked for at.
enum LinkFault: String, Sendable, Codable {
    /// The link is up, or it is too early to say.
    case none
    /// Settings or clock of this machine.
    case node
    /// Name service or route between here and there.
    case network
    case proxy
    /// The hub, or what stands in front of it.
    case hub
    /// The credential: a person has to pair the node again.
    case pairing

    /// After a dial that failed.
    init(_ error: WebSocketError) {
        switch error.code {
        case .invalidURL, .insecureURL, .misuse, .invalidProxy, .tlsConfiguration, .system, .tlsNotYetValid:
            self = .node
        case .proxyUnreachable, .proxyAuthentication, .proxyRefused, .proxyProtocol: self = .proxy
        case .dnsNotFound, .dnsFailed, .tcpUnreachable, .tcpFailed, .proxyTargetUnreachable: self = .network
        case .timeout: self = error.phase == .tls || error.phase == .http ? .hub : .network
        default: self = error.httpFailure?.status == 407 ? .proxy : .hub
        }
    }

    /// After a session that ended.
    init(_ ending: SessionEnding) {
        switch ending.cause {
        case .closedByPeer: self = .hub
        // Nothing heard for too long, and a connection that broke: whatever lies between.
        case .closedHere, .transportLost: self = .network
        case .cancelled: self = .none
        }
    }

    /// For people, as the end of "at fault: …".
    var words: String {
        switch self {
        case .none: "nobody"
        case .node: "this machine's settings"
        case .network: "the network between here and the hub"
        case .proxy: "the proxy"
        case .hub: "the hub"
        case .pairing: "the pairing"
        }
    }
}
