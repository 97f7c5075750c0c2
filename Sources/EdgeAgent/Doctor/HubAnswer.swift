import FoundationEssentials
import WireFormat

/// What the hub says about a token, without a session being opened (`GET /edge/v1/whoami`).
struct HubAnswer: Decodable, Equatable, Sendable {
    /// `accepted`, `unknown`, `expired` or `revoked`; others may come.
    var token: String
    var nodeID: String?
    var nodeName: String?
    /// Bots that the node holds and the hub does not have on it; from hubs of before nil.
    var strays: [String]?
    var hubName: String
    var hubVersion: String
    var protocolMin: UInt32
    var protocolMax: UInt32
    /// The hub's wall clock.
    var timeUnixMilliseconds: Int64

    private enum CodingKeys: String, CodingKey {
        case token
        case nodeID = "node_id"
        case nodeName = "node_name"
        case strays
        case hubName = "hub_name"
        case hubVersion = "hub_version"
        case protocolMin = "protocol_min"
        case protocolMax = "protocol_max"
        case timeUnixMilliseconds = "time_unix_ms"
    }

    /// Above this a clock makes certificates look expired or not yet valid, sooner or later.
    private static let notableOffset = Duration.seconds(30)

    /// - Parameters:
    ///   - expectedNode: Who this machine believes to be; empty where it only has a token.
    ///   - isPaired: Whether there was a token to ask about.
    func tokenCheck(expectedNode: String, isPaired: Bool) -> DoctorCheck {
        guard isPaired else {
            return DoctorCheck(
                name: .token,
                status: .failed,
                detail:
                    "this machine has none; get a code from the hub and run: edge-agent enroll --hub URL --code CODE"
            )
        }
        let again = "get a new code from the hub and run: edge-agent enroll --again --hub URL --code CODE"
        switch token {
        case "accepted" where !expectedNode.isEmpty && nodeID != nil && nodeID != expectedNode:
            return DoctorCheck(
                name: .token,
                status: .failed,
                detail: "the hub knows it as node \(nodeID ?? "") and not \(expectedNode), so it would refuse the "
                    + "session; \(again)"
            )
        case "accepted":
            return DoctorCheck(
                name: .token,
                status: .ok,
                detail: "accepted, this is \(nodeName ?? "") (\(nodeID ?? ""))\(strayWords)"
            )
        case "revoked":
            return failure("an operator has revoked it (close code 4403), bots run on; \(again)")
        case "expired":
            return failure("it has expired (close code 4401), bots run on; \(again)")
        case "unknown":
            return failure(
                "this hub does not know it (close code 4401): the node was deleted there, or it is another hub; \(again)"
            )
        default:
            return failure("the hub says \"\(token.prefix(40))\", which this agent does not understand; upgrade it")
        }
    }

    private var strayWords: String {
        guard let strays, !strays.isEmpty else { return "" }
        return
            "; it holds bots that the hub does not have on it: \(strays.joined(separator: "; ")). Adopt, recover or discard them on the "
            + "node's page, or with `control-hub strays`"
    }

    private func failure(_ detail: String) -> DoctorCheck {
        DoctorCheck(name: .token, status: .failed, detail: detail)
    }

    func hubCheck(supported: ClosedRange<UInt32> = ProtocolVersion.supported) -> DoctorCheck {
        let hub = "\(hubName), version \(hubVersion)"
        guard protocolMin <= protocolMax, (protocolMin...protocolMax).overlaps(supported) else {
            let older = protocolMax < supported.lowerBound ? "the hub" : "this agent"
            return DoctorCheck(
                name: .hub,
                status: .failed,
                detail: "\(hub), speaks protocol \(protocolMin) to \(protocolMax) and this agent "
                    + "\(supported.lowerBound) to \(supported.upperBound) (close code 4426); upgrade \(older)"
            )
        }
        let version = min(protocolMax, supported.upperBound)
        return DoctorCheck(name: .hub, status: .ok, detail: "\(hub), protocol \(version)")
    }

    /// - Parameters:
    ///   - sent: This machine's wall clock before the question, in milliseconds since 1970.
    ///   - received: The same after the answer.
    func clockCheck(sent: Int64, received: Int64) -> DoctorCheck {
        let offset = timeUnixMilliseconds.clampedSubtracting((sent + received) / 2)
        let amount = LinkDiagnosis.text(.milliseconds(clamping: offset.magnitude))
        let direction = offset < 0 ? "ahead of" : "behind"
        let detail = "this machine is \(amount) \(direction) the hub"
        guard Duration.milliseconds(clamping: offset.magnitude) > Self.notableOffset else {
            return DoctorCheck(name: .clock, status: .ok, detail: detail)
        }
        return DoctorCheck(
            name: .clock,
            status: .ok,
            detail: detail + "; nothing depends on that but certificates: set the clock that is wrong"
        )
    }
}
