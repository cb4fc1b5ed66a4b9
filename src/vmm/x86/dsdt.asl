// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the guest is told of the platform in AML: the PCI host bridge, what is
 * taken of the address space, the serial port, the sleep button, and how to
 * sleep and to power off. Numbers are those of layout.h; a unit test compares
 * the two.
 */
DefinitionBlock ("", "DSDT", 2, "BELOWS", "BELLOWS ", 1)
{
	/* Suspend to RAM and soft off: SLEEP_TYPE_S3 and _S5 for both control
	 * blocks. */
	Name (\_S3, Package () { 1, 1, 0, 0 })
	Name (\_S5, Package () { 5, 5, 0, 0 })

	/* GPE_SLEEP_BUTTON and GPE_WAKE: pressed by an awake machine's user,
	 * and what woke a sleeping one. */
	Scope (\_GPE)
	{
		Method (_E00) { Notify (\_SB.SLPB, 0x80) }
		Method (_E01) { Notify (\_SB.SLPB, 0x02) }
	}

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08")) /* PCI Express */
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed,
					MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed,
					PosDecode, EntireRange,
					0, 0x0000, 0x0CF7, 0, 0x0CF8)
				WordIO (ResourceProducer, MinFixed, MaxFixed,
					PosDecode, EntireRange,
					0, 0x0D00, 0xFFFF, 0, 0xF300)
				DWordMemory (ResourceProducer, PosDecode,
					MinFixed, MaxFixed, NonCacheable,
					ReadWrite,
					0, 0xC0000000, 0xDFFFFFFF, 0,
					0x20000000)
			})

			/*
			 * The guest may drive what PCI Express features it
			 * finds, but there is no hot-plug (bits 0 and 1).
			 */
			Method (_OSC, 4, NotSerialized)
			{
				CreateDWordField (Arg3, 0, CDW1)
				If (Arg0 != ToUUID (
				    "33DB4D5B-1FF7-401C-9657-7441C03DD766"))
				{
					CDW1 |= 0x04 /* unknown UUID */
					Return (Arg3)
				}
				If (Arg1 != 1)
				{
					CDW1 |= 0x08 /* unknown revision */
				}
				If (Arg2 >= 3)
				{
					CreateDWordField (Arg3, 8, CDW3)
					If (CDW3 & 0x03)
					{
						CDW1 |= 0x10 /* masked */
						CDW3 &= 0xFFFFFFFC
					}
				}
				Return (Arg3)
			}
		}

		/* Claims the configuration window and the PM ports. */
		Device (BORD)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xE0000000,
					0x00100000)
				IO (Decode16, 0x0600, 0x0600, 1, 0x23)
			})
		}

		/*
		 * It can wake the machine, so the guest arms it on its way to
		 * sleep: from that the VMM learns of suspend-to-idle, where
		 * the target state is S0 and no register is written.
		 */
		Device (SLPB)
		{
			Name (_HID, EisaId ("PNP0C0E"))
			Name (_PRW, Package () { 1, 3 }) /* GPE_WAKE, from S3 */
			OperationRegion (ARMR, SystemIO, 0x0622, 1)
			Field (ARMR, ByteAcc, NoLock, WriteAsZeros)
			{
				ARMD, 8
			}
			Method (_DSW, 3)
			{
				If (Arg0)
				{
					ARMD = (0x80 | Arg1)
				}
				Else
				{
					ARMD = 0
				}
			}
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03F8, 0x03F8, 1, 8)
				IRQNoFlags () { 4 }
			})
		}
	}
}
