#!/usr/bin/env bash
# Writes the messages of the story into a folder, with times that lead up to now: nobody is told of what is older than max_event_age.
# With DAYS, all of it happened so many days before.
#   examples/care/messages.sh FOLDER [DAYS]
set -euo pipefail

folder=${1:?usage: messages.sh FOLDER [DAYS]}
days=${2:-0}
mkdir -p "$folder"
at() { date -u -d "$1 $days days ago" +%Y%m%d%H%M%S+0000; }
now=$(at now) admitted=$(at '60 hours ago') discharged=$(at '50 hours ago') visited=$(at '1 hour ago') consult=$(at '8 days')

hospital='00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR'
practice='C55120^^^CHFM&2.16.840.1.113883.19.5.2&ISO^MR'
cardiology='LK3391^^^LCARD&2.16.840.1.113883.19.5.3&ISO^MR'
mbi='1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC'
halversen='9990002021^HALVERSEN^INGRID^^^^^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI'
baptiste='9990003037^BAPTISTE^RENEE^^^^^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI'
lindqvist='9990005057^LINDQVIST^TOMAS^^^^^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI'

# MSH: sending application, facility, type, control id
msh() { printf 'MSH|^~\\&|%s|%s|HANDOFF|EXCHANGE|%s||%s|%s|P|2.5.1|||AL|NE\r' "$1" "$2" "$now" "$3" "$4"; }
# PID: the record number
pid() { printf 'PID|1||%s~%s||OKAFOR^MARISOL^^^^^L||19510314|F|||418 QUARRY ROAD^^LAKESHORE^NY^14150^USA^H||^PRN^PH^^1^716^5550142\r' "$1" "$mbi"; }
line() { printf '%s\r' "$1"; }
# PV1 of the stay: disposition, discharge
stay() { line "PV1|1|I|4W^412^B^SBMC|E|||$halversen|||CAR|||||||$halversen||V20260302001^^^SBMC|||||||||||||||||$1||||||||$admitted|$2"; }

{ msh SBADT SBMC 'ADT^A01^ADT_A01' SB000101
  line "EVN|A01|$now||||$admitted"
  pid "$hospital"
  line 'PD1|||CHURCH HILL FAMILY MEDICINE^L^CHFM|9990003037^BAPTISTE^RENEE'
  stay '' ''
  line 'DG1|1||I50.23^Acute on chronic systolic heart failure^I10C|||A'
} > "$folder/1-admission.hl7"

{ msh SBADT SBMC 'ADT^A03^ADT_A03' SB000188
  line "EVN|A03|$now"
  pid "$hospital"
  line 'PD1|||CHURCH HILL FAMILY MEDICINE^L^CHFM|9990003037^BAPTISTE^RENEE'
  stay 06 "$discharged"
  line 'DG1|1||I50.23^Acute on chronic systolic heart failure^I10C|||F'
  line 'DG1|2||F10.20^Alcohol dependence, uncomplicated^I10C|||F'
} > "$folder/2-discharge.hl7"

{ msh SBDOC SBMC 'MDM^T02^MDM_T02' SB000204
  line "EVN|T02|$now"
  pid "$hospital"
  stay 06 "$discharged"
  line "TXA|1|18842-5^Discharge summary^LN|TX|$discharged||$now|||9990002021^HALVERSEN^INGRID|||DOC884213^SBMC|||||AU|U|AV"
  line 'OBX|1|TX|18842-5^Discharge summary^LN||Admitted with decompensated heart failure; diuresed; home with home health.||||||F'
} > "$folder/3-summary.hl7"

{ msh CHPM CHFM 'ADT^A04^ADT_A01' CH000355
  line "EVN|A04|$visited"
  pid "$practice"
  line "PV1|1|O|CLINIC^2^^CHFM||||$baptiste|||||||||||||||||||||||||||||||||||||$visited"
} > "$folder/4-visit.hl7"

{ msh CHEHR CHFM 'OMG^O19^OMG_O19' CH000370
  pid "$practice"
  line "PV1|1|O|CLINIC^2^^CHFM||||$baptiste"
  line "ORC|NW|REF55120-1^CHFM|||||||$now|||$baptiste"
  line "OBR|1|REF55120-1^CHFM||57133-1^Referral note^LN||||||||||||$baptiste"
} > "$folder/5-referral.hl7"

{ msh LCSCHED LCARD 'SIU^S12^SIU_S12' LC000050
  line "SCH||LA9^LCARD||||S12^Appointment booked^L|CONSULT^Consultation^L||||^^30^$consult|||||LCSTAFF2^NYQUIST^ELSA||||LCSTAFF2^NYQUIST^ELSA|||||Booked|REF55120-1^CHFM"
  pid "$cardiology"
  line 'RGS|1|A'
  line "AIP|1|A|$lindqvist|||$consult|||30|MIN"
} > "$folder/6-consultation.hl7"

# Somebody else of both panels, discharged home an hour ago.
{ msh SBADT SBMC 'ADT^A03^ADT_A03' SB000231
  line "EVN|A03|$now"
  line 'PID|1||00650117^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR~3GJ6VG7PM95^^^CMS&2.16.840.1.113883.4.927&ISO^MC||BRANDVOLD^ARNE^^^^^L||19441102|M|||7 TERN LANE^^LAKESHORE^NY^14150^USA^H'
  line "PV1|1|I|2E^207^A^SBMC|E|||$halversen|||SUR|||||||$halversen||V20260304007^^^SBMC|||||||||||||||||01||||||||$admitted|$visited"
} > "$folder/7-another-discharge.hl7"

# A stay at a place that is itself the disclosure.
{ msh LRADT LAKERECOV 'ADT^A01^ADT_A01' LR000012
  line "EVN|A01|$now||||$visited"
  line 'PID|1||R-2207^^^LAKERECOV^MR~3GJ6VG7PM95^^^CMS&2.16.840.1.113883.4.927&ISO^MC||BRANDVOLD^ARNE^^^^^L||19441102|M'
  line "PV1|1|I|A^3^1^LAKERECOV|E|||||||||||||||R991^^^LAKERECOV|||||||||||||||||||||||||$visited"
} > "$folder/8-recovery.hl7"
