/// A set that knows the order in which its members came. All in constant time.
struct AgedSet<Member: Hashable & Sendable>: Sendable {
    private struct Neighbours: Sendable {
        var older: Member?
        var newer: Member?
    }

    private var members: [Member: Neighbours] = [:]
    private(set) var oldest: Member?
    private var newest: Member?

    var count: Int { members.count }
    var isEmpty: Bool { members.isEmpty }

    /// Puts a member last; one that is there already stays where it is.
    mutating func append(_ member: Member) {
        guard members[member] == nil else { return }
        members[member] = Neighbours(older: newest, newer: nil)
        if let newest { members[newest]?.newer = member } else { oldest = member }
        newest = member
    }

    mutating func remove(_ member: Member) {
        guard let gone = members.removeValue(forKey: member) else { return }
        if let older = gone.older { members[older]?.newer = gone.newer } else { oldest = gone.newer }
        if let newer = gone.newer { members[newer]?.older = gone.older } else { newest = gone.older }
    }

    /// The oldest, the oldest first.
    func oldest(atMost limit: Int) -> [Member] {
        var found: [Member] = []
        var next = oldest
        while let member = next, found.count < limit {
            found.append(member)
            next = members[member]?.newer
        }
        return found
    }
}
