import TestSupport
import Testing

@testable import ControlHub

@Suite("Who holds the hub's connections")
struct ConnectionCensusTests {
    /// Stand-ins for connections; they live as long as the test, so that no two have the same identity.
    private final class Connection: Sendable {}

    private final class Hub {
        private(set) var census: ConnectionCensus
        private(set) var all: [Connection] = []

        init(_ settings: ConnectionCensus.Settings) { census = ConnectionCensus(settings) }

        func make() -> ConnectionCensus.ID {
            let connection = Connection()
            all.append(connection)
            return ObjectIdentifier(connection)
        }

        func prove(_ id: ConnectionCensus.ID, _ holder: ConnectionCensus.Holder) -> Bool { census.prove(id, holder) }
        func leave(_ id: ConnectionCensus.ID) { census.leave(id) }

        func identify(_ id: ConnectionCensus.ID, as address: ClientAddress) -> ConnectionCensus.Eviction? {
            census.identify(id, as: address)
        }

        func enter(_ id: ConnectionCensus.ID, from address: ClientAddress) -> ConnectionCensus.Entrance {
            census.enter(id, from: address)
        }

        /// Enters a connection that is let in; who had to go for it.
        func enter(_ peer: String) throws -> (id: ConnectionCensus.ID, gone: ConnectionCensus.Eviction?) {
            let id = make()
            guard case .admitted(let gone) = census.enter(id, from: ClientAddress(peer)) else {
                throw Missing(what: "a place for \(peer)")
            }
            return (id, gone)
        }
    }

    private let node = ConnectionCensus.Holder.node(NodeID(rawValue: "n"))

    @Test("a newcomer takes the oldest stranger's place when strangers have no more")
    func oldestGoes() throws {
        let hub = Hub(.init(total: 100, strangers: 3, strangersPerAddress: 50))
        let first = try hub.enter("203.0.113.1").id
        for number in 2...3 { #expect(try hub.enter("203.0.113.\(number)").gone == nil) }
        #expect(try hub.enter("203.0.113.4").gone == .init(id: first, reason: .evictedTotal))
        #expect(hub.census.strangerCount == 3)
    }

    @Test("the address that holds the most makes room, not the one that was there first")
    func greediestGoes() throws {
        let hub = Hub(.init(total: 100, strangers: 10, strangersPerAddress: 50))
        let calm = try hub.enter("203.0.113.1").id
        let hoard = try (0..<9).map { _ in try hub.enter("198.51.100.1").id }
        #expect(try hub.enter("203.0.113.2").gone == .init(id: hoard[0], reason: .evictedTotal))
        #expect(hub.census.address(of: calm) != nil)
    }

    @Test("an address, and an IPv6 site, has a number of its own; beyond it its oldest goes")
    func perAddress() throws {
        let hub = Hub(.init(total: 1000, strangers: 500, strangersPerAddress: 4))
        let first = try hub.enter("203.0.113.1").id
        for _ in 0..<3 { #expect(try hub.enter("203.0.113.1").gone == nil) }
        #expect(try hub.enter("203.0.113.1").gone == .init(id: first, reason: .evictedAddress))
        #expect(try hub.enter("203.0.113.2").gone == nil)
        // Eight of one /48, each of another /64.
        let spread = try (0..<8).map { try hub.enter("2001:db8:1:\($0)::1").id }
        #expect(try hub.enter("2001:db8:1:9::1").gone == .init(id: spread[0], reason: .evictedAddress))
        #expect(try hub.enter("2001:db8:2::1").gone == nil)
    }

    @Test("who has proved a credential never makes room, and the reserve is theirs alone")
    func reserve() throws {
        let hub = Hub(.init(total: 10, strangers: 2, strangersPerAddress: 50, perNode: 50))
        for _ in 0..<8 {
            let id = try hub.enter("203.0.113.1").id
            #expect(hub.prove(id, node))
        }
        let last = try hub.enter("203.0.113.2").id
        #expect(hub.prove(last, node))
        let stranger = try hub.enter("203.0.113.3").id
        #expect(try hub.enter("203.0.113.4").gone == .init(id: stranger, reason: .evictedTotal))
        #expect(hub.census.knownCount == 9 && hub.census.isKnown(last))
    }

    @Test("where nobody can make room, a newcomer is refused, until somebody leaves")
    func full() throws {
        let hub = Hub(.init(total: 2, strangers: 2, strangersPerAddress: 50, perNode: 50))
        let ids = try (0..<2).map { _ in try hub.enter("203.0.113.1").id }
        for id in ids { #expect(hub.prove(id, node)) }
        #expect(hub.enter(hub.make(), from: ClientAddress("203.0.113.2")) == .refused)
        hub.leave(ids[0])
        #expect(try hub.enter("203.0.113.2").gone == nil)
    }

    @Test("one credential cannot take the whole reserve")
    func perHolder() throws {
        let hub = Hub(.init(total: 100, strangers: 50, perNode: 2))
        let ids = try (0..<3).map { _ in try hub.enter("203.0.113.1").id }
        #expect(hub.prove(ids[0], node) && hub.prove(ids[1], node))
        #expect(hub.prove(ids[1], node), "again is the same")
        #expect(!hub.prove(ids[2], node) && !hub.census.isKnown(ids[2]))
        hub.leave(ids[0])
        #expect(hub.prove(ids[2], node))
    }

    @Test("what comes through a proxy is counted for the client, as soon as that is told")
    func proxied() throws {
        let hub = Hub(.init(total: 100, strangers: 50, strangersPerAddress: 4))
        let client = ClientAddress("203.0.113.9")
        var ids: [ConnectionCensus.ID] = []
        for _ in 0..<6 {
            let (id, gone) = try hub.enter("127.0.0.1")
            #expect(gone == nil, "a proxy stands for many")
            ids.append(id)
        }
        for id in ids.prefix(4) { #expect(hub.identify(id, as: client) == nil) }
        #expect(hub.identify(ids[4], as: client) == .init(id: ids[0], reason: .evictedAddress))
        #expect(hub.identify(ids[4], as: client) == nil, "it is known already")
        #expect(hub.identify(ids[5], as: ClientAddress("203.0.113.8")) == nil)
    }

    @Test("whatever comes and goes in any order, nobody is counted twice or left behind", arguments: 1...20)
    func model(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let settings = ConnectionCensus.Settings(total: 40, strangers: 12, strangersPerAddress: 4, perNode: 3)
        let hub = Hub(settings)
        var present: Set<ConnectionCensus.ID> = []
        for _ in 0..<2000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let id = hub.make()
                let peer = "203.0.113.\(Int.random(in: 1...6, using: &random))"
                switch hub.enter(id, from: ClientAddress(peer)) {
                case .admitted(let gone):
                    present.insert(id)
                    if let gone { #expect(present.remove(gone.id) != nil) }
                case .refused:
                    #expect(hub.census.strangerCount == 0)
                }
            case 5..<8:
                guard let id = present.randomElement(using: &random) else { continue }
                let number = Int.random(in: 0..<20, using: &random)
                _ = hub.prove(id, .node(NodeID(rawValue: "\(number)")))
            default:
                guard let id = present.randomElement(using: &random) else { continue }
                hub.leave(id)
                present.remove(id)
            }
            #expect(hub.census.strangerCount + hub.census.knownCount == present.count)
            #expect(hub.census.strangerCount <= 12 && present.count <= 40)
        }
    }
}
