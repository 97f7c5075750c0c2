import Foundation
import WireFormat

/// How a node is doing, in one word.
enum NodeHealthState: String, Sendable, Codable, CaseIterable {
    case online, degraded, offline
    case neverSeen = "never_seen"
}

/// A word, why, and since when.
struct StateFact: Equatable, Sendable {
    var state: String
    var reason: String
    var since: Date?
}

/// The times after which a silent node is called degraded and offline.
struct HealthThresholds: Equatable, Sendable {
    var heartbeatInterval: Duration
    /// Two missed heartbeats by default.
    var degradedAfter: Duration
    /// Three missed heartbeats by default.
    var offlineAfter: Duration
    /// How long a closed connection may take to come back.
    var closedGrace: Duration

    init(
        heartbeatInterval: Duration = .seconds(15),
        degradedAfter: Duration? = nil,
        offlineAfter: Duration? = nil,
        closedGrace: Duration = .seconds(10)
    ) {
        self.heartbeatInterval = heartbeatInterval
        self.degradedAfter = degradedAfter ?? heartbeatInterval * 2
        self.offlineAfter = offlineAfter ?? heartbeatInterval * 3
        self.closedGrace = closedGrace
    }
}

/// Decides a node's health from what is known now. Pure: the same facts give the same answer.
struct HealthPolicy: Sendable {
    /// What is known of a node's link; ages are monotonic.
    enum Link: Equatable, Sendable {
        case neverSeen
        /// Connected; time since the last heartbeat, or since the session began when none has come yet.
        case connected(quietFor: Duration)
        case closed(ago: Duration, reason: String)
    }

    let thresholds: HealthThresholds

    /// The state and one sentence on why.
    func evaluate(_ link: Link) -> (state: NodeHealthState, reason: String) {
        switch link {
        case .neverSeen:
            return (.neverSeen, "The agent has not connected yet.")
        case .connected(let quietFor):
            if quietFor > thresholds.offlineAfter {
                return (.offline, "Connected, but no heartbeat for more than \(Self.text(thresholds.offlineAfter)).")
            }
            if quietFor > thresholds.degradedAfter {
                return (.degraded, "No heartbeat for more than \(Self.text(thresholds.degradedAfter)).")
            }
            return (.online, "Heartbeats arrive.")
        case .closed(let ago, let reason):
            if ago > thresholds.closedGrace {
                return (.offline, "Not connected: \(reason)")
            }
            return (.degraded, "The connection closed and may come back: \(reason)")
        }
    }

    private static func text(_ duration: Duration) -> String {
        let seconds = duration.seconds
        return seconds == seconds.rounded() ? "\(Int(saturating: seconds)) s" : "\(seconds) s"
    }
}
