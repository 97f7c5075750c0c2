import Foundation

/// Somebody who tried to pair and was refused.
struct EnrollmentAttempt: Sendable, Equatable, Codable {
    /// The code that was sent; nil where that is none which was made here, such as one with a slip in it.
    var enrollmentID: EnrollmentID?
    let at: Date
    let address: String
    /// What the machine says of itself. Anybody may say anything.
    let hostName: String?
    let agentVersion: String?
    /// Of the `HubError` it was answered.
    let code: String
    let reason: String

    /// Kept of one code; the oldest go.
    static let maximumOfOneCode = 20
    /// Kept of codes that are not known here.
    static let maximumOfUnknownCodes = 100
    /// Of each text that the other side chose.
    private static let maximumCharacters = 100

    init(at date: Date, address: String, _ request: EnrollmentRequest, _ error: HubError) {
        at = date
        self.address = Self.short(address) ?? "unknown"
        hostName = Self.short(request.hostName)
        agentVersion = Self.short(request.agentVersion)
        code = error.code.rawValue
        reason = error.detail
    }

    init(
        enrollmentID: EnrollmentID?,
        at date: Date,
        address: String,
        hostName: String?,
        agentVersion: String?,
        code: String,
        reason: String
    ) {
        self.enrollmentID = enrollmentID
        at = date
        (self.address, self.hostName, self.agentVersion) = (address, hostName, agentVersion)
        (self.code, self.reason) = (code, reason)
    }

    private static func short(_ text: String?) -> String? {
        text.flatMap { $0.isEmpty ? nil : String($0.prefix(maximumCharacters)) }
    }

    /// Whether it may have been meant for a code: that itself, or an unknown one while that was waited for.
    func mayConcern(_ enrollment: Enrollment) -> Bool {
        if let enrollmentID { return enrollmentID == enrollment.id }
        return at >= enrollment.createdAt && at <= min(enrollment.expiresAt, enrollment.redeemedAt ?? .distantFuture)
    }
}
