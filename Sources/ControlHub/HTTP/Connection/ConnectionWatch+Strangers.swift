import NIOCore
import WireFormat

extension ConnectionWatch {
    /// Counts the connections with those of all strangers, and closes those that keep the hub waiting too long.
    init(_ strangers: Strangers, limits: HTTPPatience.Limits) {
        self.init(
            enter: { strangers.connections.enter($0) },
            isTooSlow: { channel in
                guard Defence.connectionPatience.isUp else { return false }
                strangers.refusals.note(.slowHead, address: channel.remoteAddress?.ipAddress)
                return true
            },
            makeHTTPHandler: { channel in
                try HTTPSocketOptions.apply(to: channel)
                let (id, address) = (ObjectIdentifier(channel), channel.remoteAddress?.ipAddress)
                var limits = limits
                // A proxy keeps connections open for whoever comes next.
                if strangers.connections.isProxy(address) { limits.strangerIdle = limits.idle }
                return HTTPPatienceHandler(
                    limits: limits,
                    isKnown: { strangers.connections.isKnown(id) },
                    expired: { strangers.refusals.note($0, address: address) }
                )
            }
        )
    }
}
