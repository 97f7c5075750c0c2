/// What must become of every entry of a workspace that is moved: it is on the target as it was, or still at the source, or was named
/// as left behind. Looked at when a deployment is committed and when a source is removed.
final class WorkspaceChecker {
    /// What the source of a move holds, from the moment its bot was stopped.
    private struct Truth {
        let atStop: WorkspaceListing
        /// As the bot left it, and as others have made it since.
        var versions: [String: [WorkspaceListing.Entry]]
        /// Gone before the source told what it has.
        var goneBefore: Set<String> = []
        /// What is to be there now.
        var present: WorkspaceListing
    }

    private let require: (Bool, SafetyChecker.Kind, String) -> Void
    /// By the label of a copy.
    private var truths: [String: Truth] = [:]
    /// Copies that are accounted for: the rest of a removal that did not come to its end.
    private var accounted: Set<String> = []
    /// Copies whose disk was put back since.
    private var rebased: Set<String> = []
    /// What came to be at the target, by deployment.
    private var installed: [String: WorkspaceListing] = [:]
    /// Copies that were placed and not started yet, with the epoch they are to be started under.
    private var awaited: [String: (epoch: UInt64, deployment: String, changed: WorkspaceListing?)] = [:]
    private var named: [String: Set<String>] = [:]
    /// By which deployment a copy was carried elsewhere.
    private var carried: [String: String] = [:]
    /// How many moves were looked at, and with how many entries.
    private(set) var moveCount = 0
    private(set) var entryCount = 0
    private(set) var failures: [String: Int] = [:]

    init(_ require: @escaping (Bool, SafetyChecker.Kind, String) -> Void) {
        self.require = require
    }

    /// A bot was stopped, or was found stopped.
    func stopped(_ label: String, _ listing: WorkspaceListing) {
        guard truths[label] == nil else { return }
        truths[label] = Truth(
            atStop: listing,
            versions: listing.entries.mapValues { [$0] },
            present: listing
        )
    }

    /// It begins: what it has is its own again.
    func started(_ label: String) {
        truths[label] = nil
        carried[label] = nil
        accounted.remove(label)
        rebased.remove(label)
    }

    /// Somebody else has changed the workspace.
    func changed(_ label: String, _ listing: WorkspaceListing) {
        awaited[label]?.changed = listing
        guard var truth = truths[label] else { return }
        for (path, entry) in listing.entries where truth.present.entries[path] != entry {
            truth.versions[path, default: []].append(entry)
        }
        truth.present = listing
        truths[label] = truth
    }

    /// The source has told all that it has.
    func listed(_ label: String) {
        guard var truth = truths[label] else { return }
        truth.goneBefore = Set(truth.atStop.entries.keys.filter { truth.present.entries[$0] == nil })
        truths[label] = truth
    }

    /// A copied tree has taken its place at the target.
    func installed(_ deployment: String, _ listing: WorkspaceListing) {
        if installed[deployment] == nil { installed[deployment] = listing }
    }

    /// Operators can read that these were left behind.
    func named(_ deployment: String, _ paths: [String]) { named[deployment, default: []].formUnion(paths) }

    /// A disk was put back from a copy.
    func rebased(_ label: String) {
        truths[label] = nil
        awaited[label] = nil
        rebased.insert(label)
    }

    /// The record names the target of a deployment.
    func committed(_ deployment: String, from label: String) {
        carried[label] = deployment
        moveCount += 1
        entryCount += truths[label]?.atStop.entries.count ?? 0
        if let missing = missing(label, deployment) {
            require(false, .workspaceLost, "\(label) was placed elsewhere by \(deployment), and \(missing)")
        }
    }

    /// A deployment has failed, and the bot is about to run again where it was.
    func returned(_ label: String, _ listing: WorkspaceListing) {
        guard let truth = truths[label], truth.present != listing else { return }
        let different = Set(truth.present.entries.keys).union(listing.entries.keys)
            .filter { truth.present.entries[$0] != listing.entries[$0] }.sorted()
        require(
            false,
            .workspaceLost,
            "the workspace of \(label) is not as it was after a deployment that failed: \(different.joined(separator: ", "))"
        )
    }

    /// A copy is to be started for the first time with what was carried to it.
    func awaits(_ label: String, epoch: UInt64, _ deployment: String) { awaited[label] = (epoch, deployment, nil) }

    /// A copy is started.
    func begins(_ label: String, epoch: UInt64, _ listing: WorkspaceListing) {
        guard let (awaitedEpoch, deployment, changed) = awaited[label], awaitedEpoch == epoch else { return }
        awaited[label] = nil
        require(
            listing == changed ?? installed[deployment],
            .workspaceLost,
            "\(label) was started after \(deployment), and its workspace is not the one that came"
        )
    }

    /// A deployment has failed.
    func failed(_ code: String) { failures[code, default: 0] += 1 }

    /// What a node has of a bot is about to be removed.
    func removes(_ label: String, _ listing: WorkspaceListing) {
        guard !accounted.contains(label), !rebased.contains(label), !listing.entries.isEmpty else { return }
        guard let deployment = carried[label] else {
            require(false, .workspaceLost, "the workspace of \(label) is removed, and was carried nowhere")
            return
        }
        accounted.insert(label)
        if let missing = missing(label, deployment) {
            require(false, .workspaceLost, "the workspace of \(label) is removed, and \(missing)")
        }
    }

    /// It is there once more, at the source.
    func isCopy(_ label: String) { accounted.insert(label) }

    private func missing(_ label: String, _ deployment: String) -> String? {
        guard let truth = truths[label] else { return nil }
        guard let there = installed[deployment] else { return "nothing came to be on the target" }
        for (path, entry) in truth.atStop.entries.sorted(by: { $0.key < $1.key }) {
            if named[deployment]?.contains(path) == true { continue }
            guard let found = there.entries[path] else {
                if truth.goneBefore.contains(path) { continue }
                return "\(path) (\(entry)) is neither on the target nor named"
            }
            guard truth.versions[path]?.contains(found) == true else {
                return "\(path) is on the target as \(found), and was \(entry)"
            }
        }
        return nil
    }
}
