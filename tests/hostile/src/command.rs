// SPDX-License-Identifier: GPL-2.0

//! Lines written into the sysfs files.

use devlend_protocol::{
    command::{
        parse_address,
        parse_description,
        parse_number, //
    },
    Address,
    Audience,
    BorrowCommand,
    LendCommand,
    ReclaimCommand, //
};

/// Any bytes as a line.
pub fn run(line: &[u8]) {
    let errors = [
        LendCommand::parse(line).err(),
        BorrowCommand::parse(line).err(),
        ReclaimCommand::parse(line).err(),
        parse_address(line).err(),
        parse_number(line).err(),
        parse_description(line).err(), //
    ];
    for error in errors.into_iter().flatten() {
        let message = error.to_string();
        assert!(message.len() < 300);
        assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
    if let Ok(command) = LendCommand::parse(line) {
        let text = command.address.to_string();
        assert_eq!(Address::parse(text.as_bytes()), Ok(command.address));
        assert_eq!(Address::from(u32::from(command.address)), command.address);
        // What sysfs shows of it is what may be written.
        let again = format!("{text} for={}", command.audience);
        if command.audience != Audience::ALL {
            let again = LendCommand::parse(again.as_bytes()).unwrap();
            assert_eq!(again.audience, command.audience);
        }
    }
}
