import Foundation
import WireFormat

/// What a machine shows of itself when it opens a session.
struct MachineWitness: Sendable, Equatable, Codable {
    /// A keyed hash of the machine id; empty where the agent cannot tell.
    var fingerprint = ""
    /// Another one after each boot; empty where the agent cannot tell.
    var bootID = ""
    var hostName = ""
    var remoteAddress = ""

    init(fingerprint: String = "", bootID: String = "", hostName: String = "", remoteAddress: String = "") {
        self.fingerprint = fingerprint
        self.bootID = bootID
        self.hostName = hostName
        self.remoteAddress = remoteAddress
    }

    init(_ hello: WireHello, remoteAddress: String) {
        self.init(
            fingerprint: hello.machineFingerprint,
            bootID: hello.bootID,
            hostName: hello.hostName,
            remoteAddress: remoteAddress
        )
    }

    /// The same machine, up since the same boot.
    func isSameBoot(as other: MachineWitness) -> Bool {
        fingerprint == other.fingerprint && bootID == other.bootID
    }
}

/// A machine that was turned away because another one holds the same identity.
struct Quarantine: Sendable, Equatable, Codable {
    var machine: MachineWitness
    /// One sentence with the evidence and what to do.
    var reason: String
    var since: Date
    var lastAttemptAt: Date
    var attempts: Int
}

/// Decides whether a session that proves the node's credential comes from a second machine. Pure.
///
/// The credential alone is the identity; what machines show of themselves only raises the flag. So a node that is not
/// connected may come back from anywhere (its disk was moved), and a reboot takes over at once (other boot, same
/// machine). Two machines are seen by what one machine cannot do: be heard here and dial from elsewhere, or go back to a
/// boot that another has followed.
struct IdentityPolicy: Sendable {
    /// Boots remembered of a node.
    static let historyLimit = 8

    enum Verdict: Equatable, Sendable {
        case admit
        /// Kept out until an operator has decided which one is the node.
        case quarantine(reason: String)
        /// Kept out because an operator has decided. Its tries are no news to anybody.
        case refuse(reason: String)
    }

    /// - Parameters:
    ///   - newcomer: who dials.
    ///   - present: who holds the running session and was heard lately; nil where nobody does.
    ///   - earlier: who had sessions before `present`.
    ///   - refused: machines that an operator has decided against.
    ///   - holder: who holds the identity or held it last, heard or not.
    func judge(
        _ newcomer: MachineWitness,
        present: MachineWitness?,
        earlier: [MachineWitness],
        refused: [MachineWitness] = [],
        holder: MachineWitness? = nil
    ) -> Verdict {
        if refused.contains(where: { Self.isRefused(newcomer, $0, holder: holder) }) {
            return .refuse(
                reason: "an operator has decided that \(Self.name(newcomer)) is not this node. "
                    + "Pair it with a code of its own: edge-agent enroll --hub URL --code CODE"
            )
        }
        guard let present else { return .admit }
        if !newcomer.fingerprint.isEmpty, !present.fingerprint.isEmpty, newcomer.fingerprint != present.fingerprint {
            return .quarantine(
                reason: "another machine with this identity is connected: \(Self.name(present)); "
                    + "this one is \(Self.name(newcomer)). \(Self.advice)"
            )
        }
        if !newcomer.bootID.isEmpty, newcomer.bootID != present.bootID,
            earlier.contains(where: { $0.isSameBoot(as: newcomer) })
        {
            return .quarantine(
                reason: "two machines take turns with this identity: \(Self.name(newcomer)) came back after "
                    + "\(Self.name(present)) with a boot from before. \(Self.advice)"
            )
        }
        return .admit
    }

    /// The same boot, or a later one of a machine that can be told from the node's.
    private static func isRefused(
        _ newcomer: MachineWitness,
        _ refused: MachineWitness,
        holder: MachineWitness?
    ) -> Bool {
        if newcomer.isSameBoot(as: refused), !newcomer.bootID.isEmpty || !newcomer.fingerprint.isEmpty { return true }
        return !newcomer.fingerprint.isEmpty && newcomer.fingerprint == refused.fingerprint
            && holder?.fingerprint != newcomer.fingerprint
    }

    /// The boots to remember once `newcomer` was admitted.
    func history(_ earlier: [MachineWitness], present: MachineWitness?, newcomer: MachineWitness) -> [MachineWitness] {
        guard let present, !present.isSameBoot(as: newcomer) else { return earlier }
        let others = earlier.filter { !$0.isSameBoot(as: present) && !$0.isSameBoot(as: newcomer) }
        return Array((others + [present]).suffix(Self.historyLimit))
    }

    private static let advice = "Pair the clone anew, or stop the other agent."

    private static func name(_ machine: MachineWitness) -> String {
        let host = machine.hostName.isEmpty ? "a machine without a name" : machine.hostName
        return machine.remoteAddress.isEmpty ? host : "\(host) (\(machine.remoteAddress))"
    }
}
