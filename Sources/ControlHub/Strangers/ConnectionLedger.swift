import NIOCore
import Synchronization
import WireFormat

/// Keeps the census of the server's connections, and closes those that must make room.
final class ConnectionLedger: Sendable {
    private struct State {
        var census: ConnectionCensus
        var channels: [ConnectionCensus.ID: any Channel] = [:]
    }

    private let refusals: Refusals
    private let trustedProxies: Set<String>
    private let state: Mutex<State>

    init(_ settings: ConnectionCensus.Settings, trustedProxies: Set<String>, refusals: Refusals) {
        self.refusals = refusals
        self.trustedProxies = trustedProxies
        state = Mutex(State(census: ConnectionCensus(settings)))
    }

    /// Connections of strangers, and those that have proved a credential.
    var counts: (strangers: Int, known: Int) {
        state.withLock { ($0.census.strangerCount, $0.census.knownCount) }
    }

    /// Whether this peer speaks for others.
    func isProxy(_ peer: String?) -> Bool {
        ClientAddress(peer: peer, forwarded: [], proxies: trustedProxies).limitKey == nil
    }

    /// A connection was accepted; false where it must be closed.
    func enter(_ channel: any Channel) -> Bool {
        guard Defence.connectionCensus.isUp else { return true }
        let id = ObjectIdentifier(channel)
        let peer = channel.remoteAddress?.ipAddress
        let address = ClientAddress(peer: peer, forwarded: [], proxies: trustedProxies)
        let (isAdmitted, eviction) = state.withLock { state -> (Bool, Gone?) in
            switch state.census.enter(id, from: address) {
            case .refused:
                return (false, nil)
            case .admitted(let eviction):
                state.channels[id] = channel
                return (true, eviction.map { Gone($0, &state.channels) })
            }
        }
        close(eviction, newcomer: address.text)
        guard isAdmitted else {
            refusals.note(.connectionLimit, address: address.text)
            return false
        }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { state in
                state.census.leave(id)
                state.channels[id] = nil
            }
        }
        return true
    }

    /// A request on the connection came from this address, as far as that can be believed.
    func identify(_ id: ConnectionCensus.ID?, as address: ClientAddress) {
        guard let id else { return }
        let eviction = state.withLock { state in
            state.census.identify(id, as: address).map { Gone($0, &state.channels) }
        }
        close(eviction, newcomer: address.text)
    }

    /// The connection has proved a credential; false where it has not become a known one by that.
    @discardableResult
    func prove(_ id: ConnectionCensus.ID?, _ holder: ConnectionCensus.Holder) -> Bool {
        guard let id, Defence.connectionCensus.isUp else { return true }
        return state.withLock { $0.census.prove(id, holder) }
    }

    func isKnown(_ id: ConnectionCensus.ID) -> Bool {
        state.withLock { $0.census.isKnown(id) }
    }

    /// Strangers' connections that go at a time where nothing more can be opened: as many as are accepted at a time.
    private static let roomAtOnce = 16

    /// Nothing more can be opened.
    ///
    /// - Returns: false where nobody could make room.
    func makeRoom() -> Bool {
        refusals.note(.noDescriptors, address: nil)
        for number in 0..<Self.roomAtOnce {
            let eviction = state.withLock { state in state.census.makeRoom().map { Gone($0, &state.channels) } }
            guard let eviction else { return number > 0 }
            eviction.channel?.cut()
        }
        return true
    }

    private struct Gone {
        let channel: (any Channel)?
        let reason: RefusalReason

        init(_ eviction: ConnectionCensus.Eviction, _ channels: inout [ConnectionCensus.ID: any Channel]) {
            channel = channels.removeValue(forKey: eviction.id)
            reason = eviction.reason
        }
    }

    private func close(_ gone: Gone?, newcomer: String) {
        guard let gone else { return }
        refusals.note(gone.reason, address: newcomer)
        gone.channel?.cut()
    }
}
