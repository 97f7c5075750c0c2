/// What one node and one bot may send. Far above what honest ones do; see docs/operations.md.
struct IntakeQuotas: Sendable, Equatable {
    /// Packets of one bot in a second.
    var packetsPerSecond = 1000
    /// Bytes of one bot's packets in a second.
    var packetBytesPerSecond = 1 << 20
    /// Messages of one node's session in a second: heartbeats, figures and reports of its bots' states.
    var messagesPerSecond = 50

    /// So many seconds' worth may come at once after a quiet time, such as after an outage.
    private static let burstSeconds = 40.0
    /// A node may send as much as so many busy bots.
    private static let busyBots = 4.0

    var packetsOfBot: Rate { Self.rate(packetsPerSecond) }
    var packetBytesOfBot: Rate { Self.rate(packetBytesPerSecond) }
    var packetsOfNode: Rate { Self.rate(packetsPerSecond, times: Self.busyBots) }
    var packetBytesOfNode: Rate { Self.rate(packetBytesPerSecond, times: Self.busyBots) }
    var messages: Rate { Self.rate(messagesPerSecond) }
    /// States of bots in reports, besides those at the beginning of a session.
    var states: Rate { Self.rate(messagesPerSecond) }
    /// Of the logs of one node's bots that are kept here.
    var logBytes: Rate { packetBytesOfNode }
    /// Figures that are kept; of more the newest are enough.
    var figures: Rate { Rate(perSecond: Double(messagesPerSecond) / 2, burst: Double(messagesPerSecond) * 2) }

    private static func rate(_ perSecond: Int, times factor: Double = 1) -> Rate {
        Rate(perSecond: Double(perSecond) * factor, burst: Double(perSecond) * factor * burstSeconds)
    }
}
