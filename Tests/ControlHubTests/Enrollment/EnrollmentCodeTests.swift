import Testing

@testable import ControlHub

@Suite("Enrollment codes")
struct EnrollmentCodeTests {
    @Test("are twelve unambiguous characters in three groups, and are read back however they are typed")
    func roundTrip() throws {
        for _ in 0..<200 {
            let code = EnrollmentCode.random()
            #expect(code.text.split(separator: "-").map(\.count) == [4, 4, 4])
            #expect(code.text.allSatisfy { !"01OIL".contains($0) })
            #expect(EnrollmentCode(code.text.lowercased()) == code)
            #expect(EnrollmentCode(" " + code.canonical + " ") == code)
        }
    }

    @Test(
        "with a wrong length or character are none",
        arguments: ["", "ABCD-EFGH", "ABCD-EFGH-JKM0", "ABCD-EFGH-JKMNP", "ÄBCD-EFGH-JKMN"]
    )
    func invalid(text: String) {
        #expect(EnrollmentCode(text) == nil)
    }
}
