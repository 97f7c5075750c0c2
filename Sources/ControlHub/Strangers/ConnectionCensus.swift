/// Who holds the hub's connections, and who must go when there are too many.
///
///     stranger ── proves a credential ──► known ── ends ──► gone
///        └── ends, or makes room ──► gone
///
/// Every connection begins as a stranger's. Strangers share a number of places that is small against the whole; the rest
/// is a reserve that only connections get into which have proved a credential. A newcomer is always let in where one of
/// the strangers can make room, so nobody shuts others out by holding on to what he has: the one that goes is of the
/// address that holds the most among the oldest, and then the oldest. Connections that are known never make room.
struct ConnectionCensus: Sendable {
    typealias ID = ObjectIdentifier

    struct Settings: Sendable, Equatable {
        /// All connections.
        var total = 20_000
        /// Strangers' among them. Each costs some 30 KiB, and 45 over TLS.
        var strangers = 1024
        /// Strangers' of one IPv4 address or one /64 of IPv6. A site of a thousand nodes comes back through it.
        var strangersPerAddress = 256
        /// What one credential may prove: a few browsers and scripts of one operator. Further ones stay strangers.
        var perOperator = 256
        /// A node needs one, and two while one replaces the other; networks that flap leave some behind for a while.
        var perNode = 16

        /// Of one /48 of IPv6.
        var strangersPerSite: Int { strangersPerAddress * 2 }
    }

    /// Whose credential was proved.
    enum Holder: Hashable, Sendable {
        case node(NodeID)
        case `operator`(OperatorID)
    }

    /// Somebody who must go, and why.
    struct Eviction: Equatable, Sendable {
        let id: ID
        let reason: RefusalReason
    }

    enum Entrance: Equatable, Sendable {
        case admitted(Eviction?)
        /// There is no place, and nobody can make one.
        case refused
    }

    private struct Entry: Sendable {
        var address: String?
        var site: String?
        var holder: Holder?
    }

    /// Of the oldest strangers so many are looked at for the one that goes.
    private static let candidates = 16

    private let settings: Settings
    private var entries: [ID: Entry] = [:]
    private var strangers = AgedSet<ID>()
    private var byAddress: [String: AgedSet<ID>] = [:]
    private var bySite: [String: AgedSet<ID>] = [:]
    private var byHolder: [Holder: Int] = [:]

    init(_ settings: Settings = Settings()) {
        self.settings = settings
    }

    var strangerCount: Int { strangers.count }
    var knownCount: Int { entries.count - strangers.count }

    /// Whether the connection has proved a credential.
    func isKnown(_ id: ID) -> Bool { entries[id]?.holder != nil }

    /// Whose address the connection is counted for.
    func address(of id: ID) -> String? { entries[id]?.address }

    /// A new connection.
    ///
    /// - Parameter address: nil-keyed for one that comes through a proxy, until a request says whom it speaks for.
    mutating func enter(_ id: ID, from address: ClientAddress) -> Entrance {
        var eviction: Eviction?
        if strangers.count >= settings.strangers || entries.count >= settings.total {
            guard let victim = victim else { return .refused }
            leave(victim)
            eviction = Eviction(id: victim, reason: .evictedTotal)
        }
        entries[id] = Entry()
        strangers.append(id)
        let crowded = count(id, for: address)
        // One goes at most: the place that was made is enough.
        return .admitted(eviction ?? evict(crowded))
    }

    /// A request has told whom the connection is used for. Who must go for it, if anybody.
    mutating func identify(_ id: ID, as address: ClientAddress) -> Eviction? {
        guard let entry = entries[id], entry.holder == nil, entry.address != address.limitKey else { return nil }
        uncount(id, entry)
        return evict(count(id, for: address))
    }

    /// The connection has proved a credential.
    ///
    /// - Returns: false where the credential has as many as it may, or the reserve is full: it stays a stranger's.
    mutating func prove(_ id: ID, _ holder: Holder) -> Bool {
        guard let entry = entries[id] else { return false }
        guard entry.holder != holder else { return true }
        let limit =
            switch holder {
            case .node: settings.perNode
            case .operator: settings.perOperator
            }
        guard byHolder[holder, default: 0] < limit else { return false }
        if entry.holder == nil {
            uncount(id, entry)
            strangers.remove(id)
        } else {
            release(entry)
        }
        entries[id]?.holder = holder
        byHolder[holder, default: 0] += 1
        return true
    }

    /// Nothing more can be opened: somebody must go; nil where there are no strangers.
    mutating func makeRoom() -> Eviction? {
        guard let victim else { return nil }
        leave(victim)
        return Eviction(id: victim, reason: .noDescriptors)
    }

    /// The connection has ended, or is about to.
    mutating func leave(_ id: ID) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        release(entry)
        uncount(id, entry)
        strangers.remove(id)
    }

    private mutating func release(_ entry: Entry) {
        guard let holder = entry.holder, let count = byHolder[holder] else { return }
        byHolder[holder] = count > 1 ? count - 1 : nil
    }

    /// - Returns: the oldest of the address or the site, where that has too many now.
    private mutating func count(_ id: ID, for address: ClientAddress) -> ID? {
        entries[id]?.address = address.limitKey
        entries[id]?.site = address.widerKey
        if let key = address.limitKey {
            byAddress[key, default: AgedSet()].append(id)
            if byAddress[key, default: AgedSet()].count > settings.strangersPerAddress { return byAddress[key]?.oldest }
        }
        if let key = address.widerKey {
            bySite[key, default: AgedSet()].append(id)
            if bySite[key, default: AgedSet()].count > settings.strangersPerSite { return bySite[key]?.oldest }
        }
        return nil
    }

    private mutating func uncount(_ id: ID, _ entry: Entry) {
        if let key = entry.address {
            byAddress[key]?.remove(id)
            if byAddress[key]?.isEmpty == true { byAddress[key] = nil }
        }
        if let key = entry.site {
            bySite[key]?.remove(id)
            if bySite[key]?.isEmpty == true { bySite[key] = nil }
        }
    }

    private mutating func evict(_ id: ID?) -> Eviction? {
        guard let id else { return nil }
        leave(id)
        return Eviction(id: id, reason: .evictedAddress)
    }

    private var victim: ID? {
        var worst: (id: ID, count: Int)?
        for id in strangers.oldest(atMost: Self.candidates) {
            // A proxy that names nobody stands for many; each of them counts for one.
            let count = entries[id]?.address.flatMap { byAddress[$0]?.count } ?? 1
            if count > worst?.count ?? 0 { worst = (id, count) }
        }
        return worst?.id
    }
}
