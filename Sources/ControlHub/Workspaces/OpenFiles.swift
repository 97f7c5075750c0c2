import Synchronization

/// Counts the files on their way by node and operator, so that one who takes their time leaves some of what a node serves to others.
final class OpenFiles: Sendable {
    /// Of one operator with one node; a node serves 16 in all.
    static let mostPerOperator = 4

    private struct Key: Hashable {
        let node: NodeID
        let actor: String
    }

    private let open = Mutex<[Key: Int]>([:])

    /// Throws `tooManyStreams`.
    ///
    /// - Returns: what is to be called once when the file has come or is given up.
    func begin(_ node: NodeID, _ actor: Actor) throws -> @Sendable () -> Void {
        let key = Key(node: node, actor: actor.name)
        let isAdmitted = open.withLock { open in
            guard open[key, default: 0] < Self.mostPerOperator else { return false }
            open[key, default: 0] += 1
            return true
        }
        guard isAdmitted else {
            throw HubError(
                .tooManyStreams,
                "\(Self.mostPerOperator) files of this node are on their way to or from you. Let one of them end first.",
                retryAfter: .seconds(5)
            )
        }
        let isOver = Mutex(false)
        return { [self] in
            let isFirst = isOver.withLock { isOver in
                defer { isOver = true }
                return !isOver
            }
            guard isFirst else { return }
            open.withLock { open in
                open[key, default: 1] -= 1
                if open[key] == 0 { open[key] = nil }
            }
        }
    }
}
